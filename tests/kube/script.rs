//! A script of real kubectl commands, each with what must come of it: exit code, what is printed, what stands in the file.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::process::Stdio;

use super::{Served, WEB};

/// How a command ended.
struct Ran {
    words: String,
    code: i32,
    out: String,
    all: String,
}

impl Ran {
    fn has(self, wanted: &[&str]) -> Ran {
        for one in wanted {
            assert!(self.all.contains(one), "kubectl {}: no {one:?} in\n{}", self.words, self.all);
        }
        self
    }

    fn lacks(self, unwanted: &[&str]) -> Ran {
        for one in unwanted {
            assert!(!self.all.contains(one), "kubectl {}: {one:?} in\n{}", self.words, self.all);
        }
        self
    }

    fn is(self, wanted: &str) -> Ran {
        assert_eq!(self.out.trim_end(), wanted, "kubectl {}", self.words);
        self
    }
}

/// A token that may do more than the one that `ctl kubeconfig` has.
const ADMIN: &str = "admin-admin-admin-admin";

/// A daemon, and how many commands it was given.
struct Script {
    served: Served,
    count: std::cell::Cell<usize>,
}

impl Script {
    fn start() -> Script {
        let served = Served::start(&[]);
        let tokens = served.dir().join("state/tokens");
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(tokens).unwrap();
        file.write_all(format!("admin {ADMIN}\n").as_bytes()).unwrap();
        Script { served, count: std::cell::Cell::default() }
    }

    /// As [`Script::ok`], with the token of an admin.
    fn admin(&self, words: &str) -> Ran {
        self.ok(&format!("--token={ADMIN} {words}"))
    }

    fn run(&self, words: &[&str], input: &str) -> Ran {
        self.count.set(self.count.get() + 1);
        let mut command = self.served.kubectl();
        command.args(words).env("EDITOR", "sed -i s/tier:.front/tier:\\ back/");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let ran = child.wait_with_output().unwrap();
        let out = String::from_utf8_lossy(&ran.stdout).into_owned();
        let all = format!("{out}{}", String::from_utf8_lossy(&ran.stderr));
        Ran { words: words.join(" "), code: ran.status.code().unwrap_or(-1), out, all }
    }

    /// Words parted by spaces, for those without spaces in them: it must work.
    fn ok(&self, words: &str) -> Ran {
        self.given(&words.split(' ').collect::<Vec<_>>(), "")
    }

    fn given(&self, words: &[&str], input: &str) -> Ran {
        let ran = self.run(words, input);
        assert_eq!(ran.code, 0, "kubectl {}: {}", ran.words, ran.all);
        ran
    }

    /// It must not work.
    fn no(&self, words: &[&str], input: &str) -> Ran {
        let ran = self.run(words, input);
        assert_ne!(ran.code, 0, "kubectl {}: {}", ran.words, ran.all);
        ran
    }

    /// Rows of the pool's file that differ from those that its author wrote.
    fn changed(&self) -> Vec<String> {
        let was = WEB.replace("@@", &self.served.scratch.mark);
        self.served.web().lines().filter(|row| !was.lines().any(|old| old == *row)).map(|row| row.trim().to_owned()).collect()
    }

    /// The document of the pool with something else in it.
    fn document(&self, from: &str, to: &str) -> String {
        WEB.replace("@@", &self.served.scratch.mark).replace(from, to)
    }
}

#[test]
fn kubectl_looks() {
    let k = Script::start();
    k.ok("version").has(&["Server Version: v1."]);
    k.ok("api-versions").has(&["weir.dev/v1", "events.k8s.io/v1", "v1\n"]);
    k.ok("api-resources").has(&["workerpools", "pool,pools,wp", "WorkerPool", "pods"]);
    k.ok("api-resources --api-group=weir.dev -o name").has(&["workerpools.weir.dev", "workers.weir.dev"]).lacks(&["pods"]);
    k.ok("get pools").has(&["NAME", "READY", "DESIRED", "BACKLOG", "talk", "web", "2/2", "Ready"]).lacks(&["TEMPLATE"]);
    k.ok("get wp").has(&["web"]);
    k.ok("get workerpools.weir.dev -o wide").has(&["TEMPLATE", "SOURCE", "web.yaml:2"]);
    k.ok("get pool web").has(&["web", "2/2"]).lacks(&["talk"]);
    k.ok("get workerpool/web workerpool/talk").has(&["web", "talk"]);
    k.ok("get pools,workers").has(&["workerpool.weir.dev/web", "worker.weir.dev/web-1"]);
    k.ok("get all").has(&["workerpool.weir.dev/web", "worker.weir.dev/web-1"]).lacks(&["event", "pod/"]);
    k.ok("get pools --no-headers").lacks(&["NAME"]);
    k.ok("get pools -o name").is("workerpool.weir.dev/talk\nworkerpool.weir.dev/web");
    k.ok("get pool web -o jsonpath={.status.readyReplicas}").is("2");
    k.ok("get pools -o jsonpath={.items[*].metadata.name}").is("talk web");
    k.ok("get pools -o custom-columns=N:.metadata.name,R:.spec.replicas --no-headers").is("talk   1\nweb    2");
    k.ok("get pools -o go-template={{range.items}}{{.metadata.name}};{{end}}").is("talk;web;");
    k.ok("get pool web -o yaml").has(&["kind: WorkerPool", "terminationGracePeriod: 1s", "conditions:"]);
    k.ok("get pools -o json").has(&["\"kind\": \"List\"", "\"readyReplicas\": 2"]);
    k.ok("get pools --sort-by=.spec.replicas -o name").is("workerpool.weir.dev/talk\nworkerpool.weir.dev/web");
    k.ok("get pools --show-labels").has(&["tier=front"]);
    k.ok("get pools -L tier").has(&["TIER", "front"]);
    k.ok("get pools -l tier=front -o name").is("workerpool.weir.dev/web");
    k.ok("get pools -l tier!=front -o name").is("workerpool.weir.dev/talk");
    k.ok("get pools --field-selector metadata.name=talk -o name").is("workerpool.weir.dev/talk");
    k.ok("get workers --chunk-size=1 -o name").is("worker.weir.dev/talk-0\nworker.weir.dev/web-0\nworker.weir.dev/web-1");
    k.ok("get pool nosuch --ignore-not-found").is("");
    k.no(&["get", "pool", "nosuch"], "").has(&["NotFound", "\"nosuch\" not found"]);
    k.no(&["get", "nosuch"], "").has(&["doesn't have a resource type"]);
    k.no(&["get", "pools", "--field-selector", "spec.x=1"], "").has(&["BadRequest"]);
    k.ok("get --raw /readyz").is("ok");
    k.ok("get --raw /apis/weir.dev/v1").has(&["workerpools/scale"]);
    k.ok("describe pool web").has(&["API Version:  weir.dev/v1", "Replicas:", "Conditions:", "Events:", "Scaled"]);
    k.ok("describe worker web-0").has(&["Worker", "Incarnation"]);
    k.ok("explain workerpool").has(&["KIND:       WorkerPool", "spec\t<PoolSpec>"]);
    k.ok("explain workerpool.spec.template.command").has(&["command <[]string>"]);
    k.ok("explain pools --recursive").has(&["terminationGracePeriod", "triggers", "readyReplicas"]);
    k.no(&["explain", "pools.spec.nosuch"], "").has(&["does not exist"]);
    k.ok("auth can-i get workerpools").has(&["yes"]);
    k.ok("auth can-i delete workers.weir.dev").has(&["yes"]);
    k.no(&["auth", "can-i", "delete", "pods"], "").has(&["no"]);
    k.no(&["auth", "can-i", "create", "pools"], "").has(&["no", "socket"]);
    k.ok("auth can-i patch pools").has(&["yes"]);
    k.no(&["auth", "can-i", "post", "/v1/prune"], "").has(&["no"]);
    k.ok("auth can-i --list").has(&["/v1/pools/*/tasks"]).lacks(&["/v1/prune"]);
    k.ok("auth whoami").has(&["weir:operate"]);
    k.ok("get namespaces").has(&["default"]);
    k.ok("get events").has(&["LAST SEEN", "Scaled", "pool/web"]);
    k.ok("get events.events.k8s.io --field-selector reason=Scaled").has(&["Scaled"]).lacks(&["Starting"]);
    k.ok("events --for workerpool/web").has(&["WorkerPool/web", "Scaled"]).lacks(&["talk"]);
    k.ok("get pods").has(&["web-0", "1/1", "Running"]);
    k.ok("get pods -A -o wide").has(&["NAMESPACE", "default", "NODE", "POOL"]);
    k.ok("get pods -n elsewhere").has(&["No resources found"]);
    k.ok("get pod talk-0 -o jsonpath={.metadata.ownerReferences[0].name}").is("talk");
    k.ok("describe pod talk-0").has(&["Controlled By:  WorkerPool/talk", "Restart Count:  0", "starting talk-0"]);
    k.ok("logs talk-0").is("hello from talk-0");
    k.ok("logs -l weir.dev/pool=talk --prefix").has(&["[pod/talk-0/worker] hello from talk-0"]);
    k.ok("logs talk-0 -c worker --tail=1").is("hello from talk-0");
    k.ok("logs talk-0 --limit-bytes=5").is("hello");
    k.ok("logs talk-0 --since=1h").is("hello from talk-0");
    k.ok("logs talk-0 --since-time=2999-01-01T00:00:00Z").is("");
    k.ok("logs talk-0 --timestamps").has(&["Z hello from talk-0"]);
    k.ok("logs talk-0 --limit-bytes=5 -f").is("hello");
    k.no(&["logs", "talk-9"], "").has(&["not found"]);
    k.ok("top pod").has(&["CPU(cores)", "MEMORY(bytes)", "web-0", "web-1", "talk-0"]);
    k.ok("top pod -l weir.dev/pool=talk --no-headers").has(&["talk-0"]).lacks(&["web-0"]);
    k.ok("top pod web-1 --containers").has(&["web-1", "worker"]);
    k.no(&["top", "pod", "web-9"], "").has(&["not found"]);
    k.no(&["delete", "pod", "web-0"], "").has(&["MethodNotAllowed"]);
    assert!(k.count.get() >= 55, "{}", k.count.get());
    assert!(k.changed().is_empty());
}

/// A worker gets another run, and a pool goes only for an admin. `old` is the document of one.
fn deletes(k: &Script, old: &str) {
    k.ok("delete worker web-0 --dry-run=server").has(&["server dry run"]);
    let uid = || k.ok("get worker web-0 -o jsonpath={.metadata.uid}").out;
    let before = uid();
    // It waits until that run is gone: another one has another uid.
    k.ok("delete worker web-0 --timeout=30s").has(&["deleted"]);
    assert_ne!(uid(), before);
    // However soon the next run has its name.
    for _ in 0..6 {
        k.ok("delete worker web-1 --timeout=10s").has(&["deleted"]);
    }
    k.ok("wait worker/web-0 --for=condition=Ready --timeout=20s").has(&["condition met"]);
    k.ok("wait pod/web-0 --for=condition=Ready --timeout=20s").has(&["condition met"]);
    k.admin("delete pool talk --dry-run=server").has(&["server dry run"]);
    // What nobody could bring back is not taken away first.
    k.no(&["delete", "pool", "talk"], "").has(&["Forbidden", "admin"]);
    k.no(&["replace", "--force", "-f", "-"], old).has(&["Forbidden", "admin"]);
    k.no(&["auth", "can-i", "delete", "pools"], "").has(&["no", "admin"]);
    assert!(k.served.scratch.spec("talk.yaml").exists());
    k.admin("delete pool talk --timeout=30s").has(&["deleted"]);
    k.ok("get pools -o name").is("workerpool.weir.dev/web");
    k.no(&[&format!("--token={ADMIN}"), "delete", "pool", "talk"], "").has(&["NotFound"]);
}

#[test]
fn kubectl_changes() {
    let k = Script::start();
    k.ok("scale pool web --replicas=3").has(&["scaled"]);
    assert_eq!(k.changed(), ["replicas: 3 # two"]);
    k.ok("wait pool/web --for=jsonpath={.status.readyReplicas}=3 --timeout=20s").has(&["condition met"]);
    k.ok("wait pool/web --for=condition=Ready --timeout=20s").has(&["condition met"]);
    k.no(&["scale", "pool", "web", "--current-replicas=9", "--replicas=1"], "");
    k.ok("scale pool web --replicas=2").has(&["scaled"]);
    k.ok("get pool web --subresource=scale -o jsonpath={.spec.replicas}").is("2");
    k.ok("get pool web --subresource=status -o jsonpath={.kind}").is("WorkerPool");
    k.ok("label pool web via=kubectl").has(&["labeled"]);
    assert_eq!(k.changed(), ["labels: {tier: front, via: kubectl} # to select by"]);
    k.no(&["label", "pool", "web", "via=other"], "").has(&["overwrite"]);
    k.ok("label pool web via-").has(&["unlabeled"]);
    k.ok("annotate pool web note=one").has(&["annotated"]);
    assert!(k.changed().iter().any(|row| row.contains("note")), "{:?}", k.changed());
    k.ok("annotate pool web note-").has(&["annotated"]);
    k.given(&["patch", "pool", "web", "--type=merge", "-p", "{\"spec\":{\"replicas\":1}}"], "").has(&["patched"]);
    k.given(&["patch", "pool", "web", "--type=json", "-p", "[{\"op\":\"replace\",\"path\":\"/spec/replicas\",\"value\":2}]"], "");
    assert!(k.served.web().contains("replicas: 2 # two"));
    k.given(&["patch", "pool", "web", "--type=merge", "-p", "{\"spec\":{\"replicas\":9}}", "--dry-run=server"], "")
        .has(&["patched"]);
    assert!(k.served.web().contains("replicas: 2 # two"));
    k.no(&["patch", "pool", "web", "--type=strategic", "-p", "{\"spec\":{}}"], "").has(&["--type=merge"]);
    k.no(&["patch", "pool", "web", "--type=merge", "-p", "{\"spec\":{\"replicas\":-1}}"], "").has(&["invalid", "whole number"]);
    k.no(&["patch", "pool", "web", "--type=merge", "-p", "{\"spec\":{\"replicass\":1}}"], "")
        .has(&["spec.replicass: unknown field", "did you mean \"replicas\""])
        .lacks(&["spec.replicass: spec", ":3:"]);
    k.no(&["patch", "pool", "web", "--type=json", "-p", "[{\"op\":\"test\",\"path\":\"/spec/replicas\",\"value\":9}]"], "")
        .has(&["did not match"]);
    k.ok("patch pool web --subresource=scale --type=merge -p {\"spec\":{\"replicas\":2}}");

    let wanted = k.document("replicas: 2", "replicas: 3");
    let differs = k.no(&["diff", "-f", "-"], &wanted).has(&["-  replicas: 2", "+  replicas: 3"]);
    assert_eq!(differs.code, 1);
    k.given(&["apply", "--dry-run=server", "-f", "-"], &wanted).has(&["configured (server dry run)"]);
    k.given(&["apply", "--dry-run=client", "-f", "-"], &wanted).has(&["configured (dry run)"]);
    k.given(&["apply", "-f", "-"], &wanted).has(&["configured"]);
    k.given(&["apply", "-f", "-"], &wanted).has(&["unchanged"]);
    k.given(&["diff", "-f", "-"], &wanted).is("");
    assert!(k.served.web().contains("# The web workers.") && k.served.web().contains("replicas: 3 # two"), "{}", k.served.web());
    // A list of what is shown, which kubectl checks by the older OpenAPI, and a kind that is not here.
    let shown = k.ok("get pools -o yaml").has(&["kind: List"]).out;
    let before = k.served.web();
    // What kubectl applied last is another text now, so it says "configured"; it comes to the same.
    k.given(&["apply", "-f", "-"], &shown).has(&["workerpool.weir.dev/web", "workerpool.weir.dev/talk"]);
    assert_eq!(k.served.web(), before);
    k.no(&["apply", "-f", "-"], &wanted.replace("kind: WorkerPool", "kind: Chair")).has(&["no matches for kind \"Chair\""]);
    k.given(&["apply", "-f", "-"], &k.document(", via: x", "")).has(&["configured"]);
    let server_side = k.document("tier: front", "tier: front, via: server");
    k.given(&["apply", "--server-side", "--dry-run=server", "-f", "-"], &server_side).has(&["serverside-applied"]);
    k.given(&["apply", "--server-side", "--force-conflicts", "-f", "-"], &server_side).has(&["serverside-applied"]);
    assert!(k.served.web().contains("labels: {tier: front, via: server} # to select by"), "{}", k.served.web());
    k.no(&["apply", "-f", "-"], &wanted.replace("  replicas:", "  replicass:")).has(&["did you mean \"replicas\""]);
    k.no(&["apply", "-f", "-"], &wanted.replace("100000", "9")).has(&["spec.template", "socket"]);
    k.no(&["apply", "-f", "-"], &wanted.replace("name: web", "name: fresh")).has(&["spec.template", "socket"]);
    k.no(&["create", "-f", "-"], &wanted).has(&["already exists"]);
    k.ok("edit pool web").has(&["edited"]);
    assert!(k.served.web().contains("tier: back"), "{}", k.served.web());
    k.given(&["replace", "-f", "-"], &wanted).has(&["replaced"]);
    assert!(k.served.web().contains("tier: front"), "{}", k.served.web());
    let old = k.ok("get pool talk -o yaml").out.replace("replicas: 1", "replicas: 2");
    k.ok("scale pool talk --replicas=0").has(&["scaled"]);
    k.ok("wait pool/talk --for=jsonpath={.status.replicas}=0 --timeout=20s");
    k.no(&["replace", "-f", "-"], &old).has(&["the object has been modified"]);

    deletes(&k, &old);
    // These have their own idea of what can be rolled out.
    k.no(&["rollout", "restart", "workerpool/web"], "");
    assert!(k.count.get() >= 45, "{}", k.count.get());
}

/// A policy's document, of which the network may change how eagerly it moves.
const GUARD: &str = "# of nothing\napiVersion: weir.dev/v1\nkind: ResourcePolicy\nmetadata: {name: guard}\nspec:\n  target: {unit: {name: weir-test-no-such.service}}\n  mode: Disabled # for now\n  bounds: {min: {cpu: \"1\", memory: 1Gi}, max: {cpu: \"4\", memory: 8Gi}}\n";

#[test]
fn kubectl_changes_policies() {
    let k = Script::start();
    k.served.scratch.put("guard.yaml", GUARD);
    k.ok("wait policy/guard --for=jsonpath={.status.mode}=Disabled --timeout=20s");
    k.ok("api-resources --verbs=update -o name").has(&["resourcepolicies.weir.dev"]);
    k.ok("label policy guard tier=front").has(&["labeled"]);
    k.ok("annotate policy guard note=one").has(&["annotated"]);
    k.given(&["patch", "policy", "guard", "--type=merge", "-p", "{\"spec\":{\"mode\":\"Enabled\"}}"], "").has(&["patched"]);
    k.given(
        &["patch", "policy", "guard", "--type=json", "-p", "[{\"op\":\"add\",\"path\":\"/spec/cooldown\",\"value\":\"7m\"}]"],
        "",
    );
    k.ok("get policy guard -o jsonpath={.spec.mode}/{.spec.cooldown}/{.metadata.labels.tier}").is("Enabled/7m/front");
    let text = || std::fs::read_to_string(k.served.scratch.spec("guard.yaml")).unwrap();
    assert!(text().starts_with("# of nothing\n") && text().contains("mode: Enabled # for now"), "{}", text());
    let wanted = GUARD.replace("mode: Disabled", "profile: Aggressive");
    k.given(&["diff", "-f", "-"], &k.ok("get policy guard -o yaml").out).is("");
    k.given(&["apply", "-f", "-"], &wanted).has(&["configured"]);
    k.given(&["apply", "-f", "-"], &wanted).has(&["unchanged"]);
    k.given(&["apply", "--server-side", "--force-conflicts", "-f", "-"], &wanted).has(&["serverside-applied"]);
    k.no(&["apply", "-f", "-"], &wanted.replace("8Gi", "99Gi")).has(&["spec.bounds", "socket"]);
    k.no(&["apply", "-f", "-"], &wanted.replace("no-such", "other")).has(&["spec.target", "socket"]);
    k.no(&["apply", "-f", "-"], &wanted.replace("name: guard", "name: fresh")).has(&["spec.bounds", "socket"]);
    k.no(&["patch", "policy", "guard", "--type=merge", "-p", "{\"spec\":{\"mode\":\"Off\"}}"], "")
        .has(&["resourcepolicies", "spec.mode"]);
    k.no(
        &[
            "patch",
            "policy",
            "guard",
            "--type=merge",
            "-p",
            "{\"spec\":{\"gauges\":[{\"name\":\"g\",\"source\":{\"exec\":{\"command\":[\"id\"]}}}]}}",
        ],
        "",
    )
    .has(&["spec.gauges", "socket"]);
    k.no(&["delete", "policy", "guard"], "").has(&["Forbidden", "admin"]);
    k.admin("delete policy guard --timeout=30s").has(&["deleted"]);
    assert!(!k.served.scratch.spec("guard.yaml").exists());
}

/// A pool that runs a process for each task.
const JOBS: &str = "apiVersion: weir.dev/v1\nkind: WorkerPool\nmetadata: {name: jobs}\nspec:\n  scale: {minReplicas: 0, maxReplicas: 1}\n  \
    queue: {delivery: Process, retry: {maxAttempts: 1}}\n  template:\n    command: [sh, -c, 'echo \"$0\"; sleep \"$1\"', $(payload.say), $(payload.for)]\n    \
    terminationGracePeriod: 1s\n    env:\n    - {name: OBSERVER_MARK, value: @@}\n";

fn task(more: &str) -> String {
    format!(
        "apiVersion: weir.dev/v1\nkind: Task\nmetadata: {{generateName: t-}}\nspec: {{pool: jobs, payload: {{say: hi, for: '0'}}{more}}}\n"
    )
}

#[test]
fn kubectl_gives_tasks() {
    let k = Script::start();
    k.served.scratch.put("jobs.yaml", &JOBS.replace("@@", &k.served.scratch.mark));
    k.ok("wait pool/jobs --for=condition=Accepted --timeout=20s");
    k.ok("api-resources --api-group=weir.dev -o wide").has(&["tasks", "Task", "create,delete,get,list,watch"]);
    k.ok("explain task.spec.payload").has(&["KIND:       Task", "What it carries"]);
    k.ok("get tasks").has(&["No resources found"]);
    let room = k.served.ctl(&["queue", "jobs"]);
    assert!(room.contains("1 of 1 slots free"), "none runs, and one can: {room}");
    let first = k.given(&["create", "-f", "-", "-o", "name"], &task("")).out.trim().to_owned();
    k.ok(&format!("wait {first} --for=jsonpath={{.status.state}}=Succeeded --timeout=60s")).has(&["condition met"]);
    let id = first.rsplit('/').next().unwrap();
    k.ok(&format!("get task {id} -o jsonpath={{.spec.pool}}/{{.spec.payload.say}}/{{.status.end.reason}}")).is("jobs/hi/Done");
    k.ok("get tasks").has(&["NAME", "POOL", "STATE", "Succeeded"]).lacks(&["PAYLOAD"]);
    k.ok("get tasks -o wide").has(&["PAYLOAD", "submit"]);
    k.ok("get tasks -l weir.dev/pool=web").has(&["No resources found"]);
    k.ok("get tasks --field-selector spec.pool=jobs,status.state=Succeeded -o name").is(&first);
    k.ok(&format!("describe task {id}")).has(&["Kind:         Task", "Succeeded"]);
    // Submitted twice, it is one.
    let twice = task(", idempotencyKey: nightly, hold: true");
    let held = k.given(&["create", "-f", "-", "-o", "name"], &twice).out;
    assert_eq!(k.given(&["create", "-f", "-", "-o", "name"], &twice).out, held);
    let mut watch = k.served.kubectl();
    let mut watch = watch
        .args(["get", "tasks", "-w", "-o", "jsonpath={.metadata.name} {.status.state}{\"\\n\"}"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut rows = BufReader::new(watch.stdout.take().unwrap()).lines().map_while(Result::ok);
    let number = held.trim().rsplit('/').next().unwrap().to_owned();
    assert!(rows.any(|row| row == format!("{number} Held")));
    // It waits until what it deleted is gone.
    k.ok(&format!("delete task {number} --timeout=30s")).has(&["deleted"]);
    assert!(rows.any(|row| row == format!("{number} Cancelled")));
    k.no(&["delete", "task", &number], "").has(&["Conflict"]);
    let long = k.given(&["create", "-f", "-", "-o", "name"], &task("").replace("'0'", "'1000'")).out.trim().to_owned();
    assert!(rows.any(|row| row.ends_with(" Leased")));
    k.ok(&format!("delete {long} --timeout=30s")).has(&["deleted"]);
    assert!(rows.any(|row| row.ends_with(" Cancelled")));
    watch.kill().unwrap();
    watch.wait().unwrap();
    k.no(&["create", "-f", "-"], &task("").replace("generateName: t-", "name: mine")).has(&["metadata.name", "idempotencyKey"]);
    k.no(&["create", "-f", "-"], &task("").replace("pool: jobs", "pool: web")).has(&["web"]);
    k.no(&["create", "-f", "-"], &task(", colour: red")).has(&["colour", "`pool`, `payload`"]);
    k.no(&["patch", "task", id, "--type=merge", "-p", "{}"], "").has(&["cannot be changed"]);
    k.no(&["get", "task", "nosuch"], "").has(&["NotFound"]);
    k.no(&["get", "task", "999999"], "").has(&["NotFound"]);
    k.ok("auth can-i create tasks.weir.dev").has(&["yes"]);
}

#[test]
fn kubectl_follows() {
    let k = Script::start();
    let mut watch = k.served.kubectl();
    let mut watch = watch
        .args(["get", "pool", "web", "-w", "-o", "jsonpath={.status.readyReplicas}{\"\\n\"}"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut rows = BufReader::new(watch.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert_eq!(rows.next().as_deref(), Some("2"));
    let mut table = k.served.kubectl();
    let mut table = table.args(["get", "pools", "--watch-only"]).stdout(Stdio::piped()).spawn().unwrap();
    k.ok("scale pool web --replicas=3");
    assert!(rows.any(|row| row == "3"));
    let mut shown = BufReader::new(table.stdout.take().unwrap()).lines().map_while(Result::ok);
    k.ok("scale pool web --replicas=2");
    assert!(shown.next().is_some_and(|row| row.starts_with("NAME")) && shown.any(|row| row.starts_with("web ")));
    let mut logs = k.served.kubectl();
    let mut logs = logs.args(["logs", "-f", "talk-0"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(logs.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert_eq!(lines.next().as_deref(), Some("hello from talk-0"));
    for child in [&mut watch, &mut table, &mut logs] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn a_git_checkout_is_not_written() {
    let served = Served::start(&["--specs-read-only"]);
    let mut command = served.kubectl();
    let ran = command.args(["scale", "pool", "web", "--replicas=3"]).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(!ran.status.success() && said.contains("Forbidden") && said.contains("commit"), "{said}");
    assert_eq!(served.web(), WEB.replace("@@", &served.scratch.mark));
}
