//! kube-rs, as its documentation shows: discovery, a reflector that follows the pools, Pods with their logs, and an event of a watch.

use futures_util::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DynamicObject, ListParams, LogParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::reflector::{self, ObjectRef};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Config, discovery};
use serde_json::json;

use super::{PATIENCE, Served};

async fn client(served: &Served) -> Client {
    let file = Kubeconfig::read_from(served.dir().join("kubeconfig")).unwrap();
    Client::try_from(Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reflector_follows_pools_and_workers_are_pods() {
    let served = Served::start(&[]);
    let client = client(&served).await;
    assert!(client.apiserver_version().await.unwrap().git_version.contains("weir"));
    let group = discovery::group(&client, "weir.dev").await.unwrap();
    let (resource, _) = group.recommended_kind("WorkerPool").unwrap();
    assert_eq!((resource.plural.as_str(), resource.version.as_str()), ("workerpools", "v1"));
    let pools: Api<DynamicObject> = Api::all_with(client.clone(), &resource);

    let writer = reflector::store::Writer::new(resource.clone());
    let store = writer.as_reader();
    let mut changes =
        watcher(pools.clone(), watcher::Config::default()).default_backoff().reflect(writer).applied_objects().boxed();
    let follow = tokio::spawn(async move {
        while let Ok(Some(pool)) = changes.try_next().await {
            let ready = pool.data.pointer("/status/readyReplicas").cloned().unwrap_or_default();
            if pool.metadata.name.as_deref() == Some("web")
                && pool.data.pointer("/spec/replicas") == Some(&json!(1))
                && ready == 1
            {
                return true;
            }
        }
        false
    });
    store.wait_until_ready().await.unwrap();
    assert_eq!(store.len(), 2);
    let one = json!({"spec": {"replicas": 1}});
    pools.patch("web", &PatchParams::default(), &Patch::Merge(&one)).await.unwrap();
    assert!(tokio::time::timeout(PATIENCE, follow).await.expect("the change is seen").unwrap());
    let seen = store.get(&ObjectRef::new_with("web", resource)).unwrap();
    assert_eq!(seen.data.pointer("/status/readyReplicas"), Some(&json!(1)));
    let scale = pools.get_scale("web").await.unwrap();
    assert_eq!(scale.spec.and_then(|spec| spec.replicas), Some(1));
    let status = pools.get_status("web").await.unwrap();
    assert!(status.data.pointer("/status/conditions").is_some());

    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let listed = pods.list(&ListParams::default().labels("weir.dev/pool=talk")).await.unwrap();
    assert_eq!(listed.items.iter().map(|pod| pod.metadata.name.as_deref().unwrap()).collect::<Vec<_>>(), ["talk-0"]);
    assert_eq!(pods.logs("talk-0", &LogParams::default()).await.unwrap(), "hello from talk-0\n");
    let missing = pools.get_opt("nosuch").await.unwrap();
    assert!(missing.is_none());
    let refused =
        pools.patch("web", &PatchParams::default(), &Patch::Merge(&json!({"spec": {"replicas": -1}}))).await.unwrap_err();
    assert!(matches!(&refused, kube::Error::Api(status) if status.code == 422), "{refused}");
}
