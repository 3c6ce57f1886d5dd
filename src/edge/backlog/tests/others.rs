//! Prometheus, RabbitMQ and NATS as their documentation says they answer.
//! For each, what it answers when all is well, and what looks like a number and is none.

use serde_json::json;

use super::*;
use crate::model::source::{NatsSource, PrometheusSource, RabbitSource};

async fn prometheus(status: u16, body: Value) -> Result<f64, Failure> {
    let reply = Reply::Whole(status, Vec::new(), body.to_string());
    let server = Server::start(move |_| reply.clone()).await;
    let (_dir, token) = token();
    let query = "sum(rate(jobs{q=\"a+b\"}[5m])) or vector(0)".to_owned();
    let source = PrometheusSource { url: format!("{}/prom/", server.url), query: query.clone(), token_from: Some(token) };
    let answer = ask(Source { prometheus: Some(source), ..Source::default() }).await;
    let asked = server.asked();
    assert_eq!((asked[0].path(), asked[0].query("query")), ("/prom/api/v1/query", Some(query)));
    assert_eq!(asked[0].header("authorization"), Some("Bearer t0ken-S3cret"));
    answer
}

/// Prometheus, "HTTP API": instant queries, expression query result formats.
fn result(kind: &str, result: Value) -> Value {
    json!({"status": "success", "data": {"resultType": kind, "result": result}})
}

#[tokio::test]
async fn a_query_answers_one_number() {
    let series = |text: &str| json!({"metric": {"__name__": "jobs"}, "value": [1435781451.781, text]});
    assert_eq!(prometheus(200, result("vector", json!([series("25")]))).await, Ok(25.0));
    assert_eq!(prometheus(200, result("vector", json!([series("0.5")]))).await, Ok(0.5));
    assert_eq!(prometheus(200, result("scalar", json!([1435781451, "7"]))).await, Ok(7.0));
    assert_eq!(prometheus(200, result("scalar", json!([1435781451, "1e3"]))).await, Ok(1000.0));
    let histogram = json!({"metric": {}, "histogram": [1435781451.781, {"count": "60", "sum": "33"}]});
    let bad = [
        (result("vector", json!([])), "found nothing"),
        (result("vector", json!([series("1"), series("2")])), "gives 2 samples"),
        (result("vector", json!([series("NaN")])), "answered NaN"),
        (result("scalar", json!([1, "NaN"])), "answered NaN"),
        (result("scalar", json!([1, "+Inf"])), "answered +Inf"),
        (result("scalar", json!([1, "-Inf"])), "answered -Inf"),
        (result("scalar", json!([1, "-1"])), "answered -1"),
        (result("scalar", json!([1, ""])), "is no number"),
        (result("scalar", json!([1, TOKEN])), "is no number"),
        (result("scalar", json!([1, 25])), "has no plain number"),
        (result("vector", json!([histogram])), "has no plain number"),
        (result("vector", json!(TOKEN)), "found nothing"),
        (result("matrix", json!([])), "gives a matrix"),
        (result("string", json!([1, "25"])), "gives a string"),
        (result(TOKEN, json!([1, "25"])), "unknown type"),
        (json!({"status": "error", "errorType": "execution", "error": TOKEN}), "did not succeed"),
        (json!({"status": "success"}), "no data"),
        (json!({}), "answered no result of a query"),
        (json!([]), "answered no result of a query"),
    ];
    for (body, why) in bad {
        let words = words(prometheus(200, body.clone()).await);
        assert!(words.contains(why), "{words}: {body}");
    }
    let mut partial = result("vector", json!([series("25")]));
    partial["warnings"] = json!(["one store did not answer"]);
    assert!(words(prometheus(200, partial).await).contains("incomplete"));
    for (status, why) in [(400, "the query is wrong"), (422, "the query is wrong"), (503, "answered 503"), (401, "answered 401")]
    {
        assert!(words(prometheus(status, json!({"status": "error", "error": TOKEN})).await).contains(why));
    }
}

fn queue(url: &str, vhost: Option<&str>, credentials: Option<SecretSource>) -> Source {
    let vhost = vhost.map(str::to_owned);
    let rabbit = RabbitSource { url: url.into(), vhost, queue: "jobs/#1".into(), credentials_from: credentials };
    Source { rabbitmq: Some(rabbit), ..Source::default() }
}

#[tokio::test]
async fn a_queue_has_what_waits_and_what_is_not_acknowledged() {
    // RabbitMQ, "Management HTTP API": /api/queues/vhost/name, with the counts as "queue totals".
    let body = json!({"name": "jobs/#1", "vhost": "/", "messages": 25, "messages_ready": 20, "messages_unacknowledged": 5});
    let server = Server::start(move |_| Reply::json(&body)).await;
    let (_dir, credentials) = secret("guest:S3cret:with colon");
    assert_eq!(ask(queue(&server.url, None, Some(credentials))).await, Ok(25.0));
    assert_eq!(ask(queue(&server.url, Some("a b"), None)).await, Ok(25.0));
    let asked = server.asked();
    // The default virtual host is `/`, which is one step of the path: `%2F`.
    assert_eq!(asked[0].target, "/api/queues/%2F/jobs%2F%231");
    // RFC 7617, 2: the first colon ends the user.
    assert_eq!(asked[0].header("authorization"), Some("Basic Z3Vlc3Q6UzNjcmV0OndpdGggY29sb24="));
    assert_eq!(asked[1].target, "/api/queues/a%20b/jobs%2F%231");
    assert_eq!(asked[1].header("authorization"), None);
}

#[tokio::test]
async fn a_queue_without_counts_is_a_failure() {
    let only = Server::start(|_| Reply::json(&json!({"messages": 4, "messages_ready": 3}))).await;
    assert_eq!(ask(queue(&only.url, None, None)).await, Ok(4.0));
    // Just after its declaration, and when the management plugin collects no statistics.
    for body in [
        json!({"name": "jobs"}),
        json!({"messages_ready": 3}),
        json!({"messages": "4"}),
        json!({"messages": -1}),
        json!([7, 3, 4]),
    ] {
        let server = Server::start(move |_| Reply::json(&body)).await;
        words(ask(queue(&server.url, None, None)).await);
    }
    let (_dir, credentials) = token();
    assert!(words(ask(queue(&only.url, None, Some(credentials))).await).contains("user:password"));
    for vhost in ["", ".", ".."] {
        assert!(words(ask(queue(&only.url, Some(vhost), None)).await).contains("cannot be asked for"));
    }
}

async fn nats(body: Value) -> Result<f64, Failure> {
    let server = Server::start(move |_| Reply::json(&body)).await;
    let source = NatsSource { url: server.url.clone(), stream: "ORDERS".into(), consumer: "workers".into() };
    let answer = ask(Source { nats: Some(source), ..Source::default() }).await;
    assert_eq!(server.asked()[0].target, "/jsz?consumers=true&streams=true");
    answer
}

#[tokio::test]
async fn a_consumer_has_what_is_pending_and_what_is_not_acknowledged() {
    // NATS, "Monitoring", JetStream information (/jsz): accounts, their streams, their consumers.
    let consumer =
        |name: &str, pending: u64| json!({"stream_name": "ORDERS", "name": name, "num_pending": pending, "num_ack_pending": 5});
    let stream = |name: &str, consumers: Value| json!({"name": name, "state": {"messages": 900}, "consumer_detail": consumers});
    let account = |streams: Value| json!({"name": "$G", "id": "$G", "stream_detail": streams});
    let orders = stream("ORDERS", json!([consumer("audit", 700), consumer("workers", 20)]));
    let other = stream("OTHER", json!([consumer("workers", 300)]));
    assert_eq!(nats(json!({"account_details": [account(json!([other, orders]))]})).await, Ok(25.0));
    let mixed = json!([{"name": "A"}, account(json!([stream("OTHER", json!([]))])), account(json!([orders]))]);
    assert_eq!(nats(json!({"streams": 2, "account_details": mixed})).await, Ok(25.0));
    let bad = [
        (json!({"disabled": true}), "JetStream is disabled"),
        (json!({}), "no stream ORDERS"),
        (json!({"account_details": [account(json!([other]))]}), "no stream ORDERS"),
        (json!({"account_details": [account(json!([stream("ORDERS", json!([]))]))]}), "no consumer workers"),
        (json!({"account_details": [account(json!([orders])), account(json!([orders]))]}), "several accounts"),
        (
            json!({"account_details": [account(json!([{"name": "ORDERS", "consumer_detail": [{"name": "workers"}]}]))]}),
            "no JSON state",
        ),
        (json!([]), "no JSON state"),
    ];
    for (body, why) in bad {
        let words = words(nats(body).await);
        assert!(words.contains(why), "{words}");
    }
}
