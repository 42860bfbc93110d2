//! Workers: no balancer sends them anything. They roll, they are restarted, and they are told to
//! take no new work before they are stopped.

use crate::stage::{Front, QUICK, SERVICE, Stage};
use crate::strategies::{ONE_BY_ONE, commanded, first_servers, processes, records_of};
use std::collections::BTreeSet;
use std::path::Path;
use wheelhouse::model::{Entry, Status};

/// A service that nobody asks: two instances on three servers.
pub fn worker(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.starts_with("listen = "));
    let text: String = lines.map(|line| format!("{line}\n")).collect();
    let text = text.replace("instances = 3\n", "instances = 2\ntraffic = \"none\"\n");
    let text = text.replace("error_ratio = 0.02\n", "error_ratio = false\n");
    first_servers(&text, 3) + ONE_BY_ONE
}

/// The same, and it listens nowhere: a program says whether it is well.
fn deaf_worker(text: &str, dir: &Path) -> String {
    let file = dir.join("worker");
    let own = format!("\"{}\", \"{{server}}\"", file.display());
    let begun = r#"echo $$ > "$0.$1"; exec sleep 600"#;
    let asked = r#"kill -0 "$(cat "$0.$1")""#;
    let text = commanded(&worker(text), &format!("\"sh\", \"-c\", '{begun}', {own}"));
    let asked = format!("kind = \"command\"\ncommand = [\"sh\", \"-c\", '{asked}', {own}]\n");
    text.replace("path = \"/readyz\"\n", &asked)
}

async fn a_worker_goes_out_and_is_restarted(edit: impl FnOnce(String, &Path) -> String) {
    let stage = Stage::set_as("rolling", Front::Embedded, QUICK, edit).await;
    let stage = stage.expect("it needs nothing in front");
    let number = stage.deploy("v2").await;
    stage.ends(number, Status::Succeeded).await;
    let before = processes(&stage.stands("v2", 2).await);
    let number = stage.begins(&["restart", SERVICE]).await;
    stage.ends(number, Status::Succeeded).await;
    let after = processes(&stage.stands("v2", 2).await);
    assert_eq!((before.len(), after.len()), (2, 2));
    assert!(before.is_disjoint(&after), "every instance was begun anew");
    let view = stage.says().await;
    assert!(view.instances.iter().all(|row| row.weight.is_none()));
    let said = stage.run(&["history", "verify"]).await;
    assert_eq!(said.code, 0, "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_probed_at_its_address_goes_out_and_is_restarted() {
    a_worker_goes_out_and_is_restarted(|text, _| worker(&text)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_judged_by_a_program_goes_out_and_is_restarted() {
    a_worker_goes_out_and_is_restarted(|text, dir| deaf_worker(&text, dir)).await;
}

/// A worker that writes down what it is told. One that stands behind `s1` is done as soon as it
/// takes no new work; the others never are.
fn told_worker(text: &str, dir: &Path) -> String {
    let script = r#"echo $$ > "$0.$1"; trap 'echo "stop $$" >> "$0.told"; exit 0' TERM; \
        trap 'echo "quiet $$" >> "$0.told"; test "$1" != s1 || exit 0' USR1; \
        while :; do sleep 0.05; done"#;
    let script = script.replace("\\\n", "");
    let own = format!("\"{}\", \"{{server}}\"", dir.join("worker").display());
    let asked = r#"kill -0 "$(cat "$0.$1")""#;
    let asked = format!("kind = \"command\"\ncommand = [\"sh\", \"-c\", '{asked}', {own}]\n");
    let command = format!(
        "\"sh\", \"-c\", \"\"\"{}\"\"\", {own}",
        script.replace('"', "\\\"")
    );
    let text = commanded(&worker(text), &command);
    let quiet = "traffic = \"none\"\nquiet = \"SIGUSR1\"\n";
    let text = text.replace("traffic = \"none\"\n", quiet);
    let text = text.replace("path = \"/readyz\"\n", &asked);
    text.replace("[canary]\n", "[canary]\ndrain_timeout = \"1s\"\n")
}

/// What a worker was told, in its order.
fn told(stage: &Stage, pid: u32) -> Vec<String> {
    let all = std::fs::read_to_string(stage.dir.path().join("worker.told")).unwrap_or_default();
    let mine = all.lines().filter_map(|line| {
        let (word, whom) = line.split_once(' ').expect("a word and a process");
        (whom == pid.to_string()).then(|| word.to_owned())
    });
    mine.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_is_told_to_take_no_new_work_once_and_is_stopped_when_done_or_late() {
    let edit = |text: String, dir: &Path| told_worker(&text, dir);
    let stage = Stage::set_as("rolling", Front::Embedded, QUICK, edit).await;
    let mut stage = stage.expect("it needs nothing in front");
    let old = stage.stands("v1", 2).await;
    let number = stage.deploy("v2").await;
    // The second engine finds a worker that was told by the first.
    stage
        .engine_dies_at(number, &[("instance_quieted", 1)])
        .await;
    stage.ends(number, Status::Succeeded).await;
    stage.stands("v2", 2).await;
    for row in &old.instances {
        let expected: &[&str] = match row.server.as_str() {
            "s1" => &["quiet"],
            _ => &["quiet", "stop"],
        };
        let pid = row.pid.expect("it ran");
        assert_eq!(told(&stage, pid), expected, "{}", row.server);
    }
    let records = records_of(&stage, number);
    let proofs = records.iter().filter_map(|record| match &record.entry {
        Entry::StopIntended { server, proof, .. } => Some(format!("{server} {proof:?}")),
        _ => None,
    });
    let expected = ["s1 Ended", "s2 Timeout"].map(str::to_owned);
    assert_eq!(proofs.collect::<BTreeSet<_>>(), BTreeSet::from(expected));
    let said = stage.run(&["history", "verify"]).await;
    assert_eq!(said.code, 0, "{said:?}");
}
