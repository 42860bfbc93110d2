//! Webhooks over real HTTP: what is signed begins a run once, and nothing more.

use super::shop::{Shop, WEBHOOK_SECRET as SECRET, stage, status};
use crate::haproxy::until;
use crate::judge::records;
use crate::stage::{free_ports, loopback};
use hmac::{Hmac, Mac};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use sha2::Sha256;
use std::net::SocketAddr;
use wheelhouse::model::{Entry, RunNumber};

/// A sender of webhooks.
struct Sender {
    shop: Shop,
    address: SocketAddr,
    http: Client,
}

impl Sender {
    async fn open() -> Self {
        let address = loopback(free_ports());
        let tables = format!(
            r#"
[webhook]
listen = "{address}"
[[webhook.source]]
provider = "github"
secret = "file:DIR/webhook.secret"
repository = "acme/shop"
rules = [{{ branch = "main", pipeline = "shop", environment = "production" }}]
"#
        );
        let shop = Shop::open(&tables).await;
        let http = Client::builder().no_proxy().build().expect("a client");
        until("webhooks to be heard", async || {
            tokio::net::TcpStream::connect(address).await.is_ok()
        })
        .await;
        Self {
            shop,
            address,
            http,
        }
    }

    async fn posts(&self, path: &str, event: &str, body: &str, signature: &str) -> Response {
        let request = self.http.post(format!("http://{}{path}", self.address));
        let request = request
            .header("content-type", "application/json")
            .header("x-github-event", event)
            .header("x-github-delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958")
            .header("x-hub-signature-256", signature)
            .body(body.to_owned());
        request.send().await.expect("an answer")
    }

    /// Sends an event as GitHub signs it; gives the answer's text.
    async fn tells(&self, event: &str, payload: &Value) -> String {
        let body = payload.to_string();
        let answer = self
            .posts("/webhook/github", event, &body, &signed(&body, SECRET))
            .await;
        assert_eq!(answer.status(), StatusCode::OK);
        answer.text().await.expect("a text")
    }

    fn push(&self) -> Value {
        let commit = self.shop.head();
        json!({
            "ref": "refs/heads/main",
            "before": "0000000000000000000000000000000000000000",
            "after": commit,
            "deleted": false,
            "head_commit": { "id": commit, "message": "Change the settings" },
            "repository": { "full_name": "acme/shop" },
            "pusher": { "name": "ada" },
        })
    }

    fn merge(&self) -> Value {
        json!({
            "action": "closed",
            "pull_request": {
                "title": "Change the settings",
                "merged": true,
                "merge_commit_sha": self.shop.head(),
                "base": { "ref": "main" },
                "merged_by": { "login": "ada" },
            },
            "repository": { "full_name": "acme/shop" },
        })
    }

    /// Runs that began.
    fn begun(&self) -> usize {
        let all = records(&self.shop.stage).into_iter();
        all.filter(|record| matches!(record.entry, Entry::PipelineStarted { .. }))
            .count()
    }
}

/// GitHub's signature.
fn signed(body: &str, secret: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length");
    mac.update(body.as_bytes());
    let digest = mac.finalize().into_bytes();
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={hex}")
}

/// FAULTS 136: what is not verified leaves no trace; a replay begins nothing.
#[tokio::test(flavor = "multi_thread")]
async fn fault_136_a_signed_push_begins_one_run_and_whatever_else_comes_begins_none() {
    let sender = Sender::open().await;
    sender
        .shop
        .commits("settings.env", "LATENCY_MS=8", "LATENCY_MS=4");
    let push = sender.push().to_string();
    let before = records(&sender.shop.stage).len();
    let good = signed(&push, SECRET);
    let changed = push.replace("refs/heads/main", "refs/heads/none");
    for (what, body, signature) in [
        ("another secret", &push, signed(&push, "a guess")),
        ("a changed body", &changed, good.clone()),
        ("no signature", &push, String::new()),
        ("one by SHA-1", &push, good.replace("sha256=", "sha1=")),
    ] {
        let answer = sender
            .posts("/webhook/github", "push", body, &signature)
            .await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{what}");
        let said = answer.text().await.expect("a text");
        assert!(!said.contains("shop"), "{what} learns nothing: {said}");
    }
    let after = records(&sender.shop.stage);
    let told = |entry: &Entry| entry.run().is_some() || matches!(entry, Entry::Refused { .. });
    let new = &after[before..];
    assert!(!new.iter().any(|record| told(&record.entry)), "{new:#?}");

    let said = sender.tells("push", &sender.push()).await;
    assert!(said.contains("began p1"), "{said}");
    for (what, event, payload) in [
        ("the same delivery", "push", sender.push()),
        ("the merge of it", "pull_request", sender.merge()),
    ] {
        let said = sender.tells(event, &payload).await;
        assert!(said.contains("already began p1"), "{what}: {said}");
    }
    for event in ["ping", "issues", "deployment_review"] {
        let said = sender.tells(event, &sender.push()).await;
        assert!(!said.contains("began"), "{event}: {said}");
    }
    assert_eq!(sender.begun(), 1);
    let view = sender.shop.status(RunNumber(1)).await;
    assert_eq!(view.by.as_str(), "GitHub");
    let cancel = ["pipeline", "cancel", "p1"];
    assert_eq!(sender.shop.says(&cancel).await.code, 0);
}

/// FAULTS 137: a webhook may begin a run and can do nothing else with it.
#[tokio::test(flavor = "multi_thread")]
async fn fault_137_no_webhook_confirms_or_promotes() {
    let sender = Sender::open().await;
    sender
        .shop
        .commits("settings.env", "LATENCY_MS=8", "LATENCY_MS=4");
    let mut crafted = sender.push();
    crafted["confirm"] = json!(["production"]);
    crafted["request"] = json!({ "confirm_stage": { "id": 1, "stage": "production" } });
    crafted["command"] = json!("promote");
    let said = sender.tells("push", &crafted).await;
    assert!(said.contains("began p1"), "{said}");
    let run = RunNumber(1);
    sender.shop.waits_for_person(run).await;
    let seq = records(&sender.shop.stage).len();
    for path in [
        "/webhook/github/confirm",
        "/webhook/github/p1/production",
        "/confirm",
        "/",
    ] {
        let body = crafted.to_string();
        let answer = sender
            .posts(path, "push", &body, &signed(&body, SECRET))
            .await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
    }
    for event in ["push", "deployment_review", "deployment_protection_rule"] {
        let said = sender.tells(event, &crafted).await;
        assert!(!said.contains("\"began"), "{event}: {said}");
    }
    let view = sender.shop.status(run).await;
    assert_eq!(status(&view, "production"), "waiting");
    assert!(stage(&view, "production").waits_for_person);
    let new = records(&sender.shop.stage).split_off(seq);
    let is_of_run = |entry: &Entry| entry.run().is_some();
    assert!(!new.iter().any(|it| is_of_run(&it.entry)), "{new:#?}");
}
