//! Rollouts by hand and by script, with a real host and real traffic.

use crate::support::*;
use rustix::process::Signal;
use serde_json::Value;

struct Shop {
    place: Place,
    _load: Load,
}

impl Shop {
    fn open() -> Self {
        let listen = free_ports(5);
        let place = Place::with(&shop(listen)).with_everything();
        Self {
            place,
            _load: Load::on(listen),
        }
    }

    /// Deploys and returns the rollout's number for people.
    fn deploy(&self, version: &str) -> String {
        let args = [
            "deploy",
            "shop",
            version,
            "-e",
            "prod",
            "--confirm",
            "prod",
            "--json",
        ];
        let told = self.place.run(&args).must(0).json();
        assert_eq!(told["answer"], "accepted", "{told}");
        format!("#{}", told["number"])
    }

    fn status(&self) -> Value {
        let said = self.place.run(&["status", "--json"]);
        assert!([0, 2].contains(&said.code), "{said:?}");
        said.json()["placements"][0].clone()
    }

    fn wait(&self, number: &str) -> Said {
        self.place.run(&["wait", number, "--timeout", "60"])
    }

    /// As many records as the history has now.
    fn records(&self) -> Value {
        let args = ["engine", "status", "--json"];
        self.place.run(&args).must(0).json()["seq"].clone()
    }
}

#[test]
fn a_protected_environment_asks_for_its_name_and_a_dry_run_for_nothing() {
    let place = Place::with(&shop(free_ports(5))).with_everything();
    let before = place.run(&["engine", "status", "--json"]).must(0).json()["seq"].clone();
    let deploy = ["deploy", "shop", "v1", "-e", "prod"];
    let said = place.run(&deploy).must(3);
    assert!(said.err.contains("--confirm prod"), "{said:?}");
    let said = place
        .run(&[&deploy[..], &["--confirm", "prdo"]].concat())
        .must(3);
    assert!(said.err.contains("prdo"), "{said:?}");

    let said = place.run(&[&deploy[..], &["--dry-run"]].concat()).must(0);
    for word in ["shop", "v1", "start", "100"] {
        assert!(said.out.contains(word), "{word} in {said:?}");
    }
    let said = place
        .run(&[&deploy[..], &["--dry-run", "--json"]].concat())
        .must(0);
    let effects = said.json()["effects"].as_array().map(Vec::len);
    assert!(effects.is_some_and(|count| count > 2), "{said:?}");
    let said = place
        .run(&["promote", "shop", "-e", "prod", "--dry-run"])
        .must(3);
    assert!(said.out.contains("no open rollout"), "{said:?}");

    let after = place.run(&["engine", "status", "--json"]).must(0).json()["seq"].clone();
    assert_eq!(before, after, "nothing was recorded");
    let rows = place.run(&["history", "list", "--json"]).must(0).json();
    assert_eq!(rows, serde_json::json!([]));
}

#[test]
fn what_is_done_every_day_asks_as_a_deploy_does_and_undrain_does_not() {
    let shop = Shop::open();
    shop.wait(&shop.deploy("v1")).must(0);
    let run = |verb: &[&str], more: &[&str]| {
        let place = ["-e", "prod"];
        shop.place.run(&[verb, &place, more].concat())
    };
    let confirmed = ["--confirm", "prod"];
    let server = shop.status()["instances"][0]["server"].clone();
    let server = server.as_str().expect("a server");
    let before = shop.records();
    let verbs: [&[&str]; 4] = [
        &["restart", "shop"],
        &["scale", "shop", "1"],
        &["drain", "shop", server],
        &["drill", "shop"],
    ];
    for verb in verbs {
        let said = run(verb, &[]).must(3);
        assert!(said.err.contains("--confirm prod"), "{said:?}");
        let said = run(verb, &["--dry-run"]).must(0);
        assert!(said.out.contains("shop"), "{said:?}");
    }
    run(&["undrain", "shop", server], &[]).must(0);
    run(&["scale", "shop", "2"], &confirmed).must(0);
    assert_eq!(before, shop.records(), "nothing was recorded");

    let said = run(&["drain", "shop", "web9"], &confirmed).must(3);
    assert!(said.err.contains("web9"), "{said:?}");
    let said = run(&["scale", "shop", "3"], &confirmed).must(3);
    assert!(said.err.contains("at most 2"), "{said:?}");

    let told = run(
        &["drain", "shop", server],
        &[&confirmed[..], &["--json", "--reason", "its disk"]].concat(),
    );
    assert_eq!(told.must(0).json()["answer"], "accepted");
    run(&["undrain", "shop", server], &[]).must(0);
    let patience = [&confirmed[..], &["--wait", "--timeout", "60s"]].concat();
    let said = run(&["restart", "shop"], &patience).must(0);
    assert!(said.out.contains("succeeded"), "{said:?}");
    let said = run(&["drill", "shop"], &patience).must(0);
    assert!(said.out.contains("the drill is over"), "{said:?}");
    assert_eq!(shop.status()["stable"]["version"], "v1");
}

#[test]
fn a_good_release_a_bad_one_a_held_one_and_the_way_back() {
    let shop = Shop::open();
    let first = shop.deploy("v1");
    shop.wait(&first).must(0);
    let second = shop.deploy("v2");
    let said = shop.wait(&second).must(0);
    assert!(said.out.contains("v2 succeeded"), "{said:?}");
    assert_eq!(shop.status()["stable"]["version"], "v2");

    let bad = shop.deploy("bad");
    let said = shop.wait(&bad).must(1);
    assert!(
        said.out.contains("rolled back") || said.out.contains("rolled_back"),
        "{said:?}"
    );
    assert_eq!(shop.status()["stable"]["version"], "v2");

    let held = shop.deploy("v3");
    shop.place
        .run(&["hold", "shop", "-e", "prod", "--reason", "lunch"])
        .must(0);
    let said = shop.wait(&held).must(2);
    assert!(said.err.contains("held"), "{said:?}");
    shop.place.run(&["status"]).must(2);
    let stale = [
        "resume",
        "shop",
        "-e",
        "prod",
        "--revision",
        "1",
        "--confirm",
        "prod",
    ];
    let said = shop.place.run(&stale).must(3);
    assert!(said.err.contains("revision 1"), "{said:?}");
    let aborted = [
        "abort", "shop", "-e", "prod", "--json", "--reason", "enough",
    ];
    let told = shop.place.run(&aborted).must(0).json();
    assert_eq!(told["answer"], "accepted", "{told}");
    shop.wait(&held).must(1);
    // Waiting for one that ended long ago tells how it ended.
    shop.wait(&second).must(0);
    shop.wait("#4711").must(3);

    let bad = ["rollback", "shop", "-e", "prod", "--to", "bad"];
    let said = shop.place.run(&bad).must(3);
    assert!(
        said.err.contains("bad") || said.err.contains("--confirm prod"),
        "{said:?}"
    );
    // To the last verified version it asks for nothing, in a protected environment too.
    let back = ["rollback", "shop", "-e", "prod", "--json"];
    let told = shop.place.run(&back).must(0).json();
    shop.wait(&format!("#{}", told["number"])).must(0);
    assert_eq!(shop.status()["stable"]["version"], "v1");
    the_history_tells_all_of_it(&shop, &held);
}

fn the_history_tells_all_of_it(shop: &Shop, held: &str) {
    let rows = shop
        .place
        .run(&["history", "list", "--json"])
        .must(0)
        .json();
    let rows = rows.as_array().expect("a list").iter();
    let told: Vec<_> = rows
        .map(|row| (row["version"].as_str(), row["status"].as_str()))
        .collect();
    assert_eq!(
        told,
        [
            (Some("v1"), Some("succeeded")),
            (Some("v3"), Some("failed")),
            (Some("bad"), Some("rolled_back")),
            (Some("v2"), Some("succeeded")),
            (Some("v1"), Some("succeeded")),
        ]
    );
    let limited = shop.place.run(&["history", "list", "--limit", "2"]).must(0);
    assert_eq!(limited.out.lines().count(), 2);

    let said = shop.place.run(&["history", "show", held]).must(0);
    assert!(
        said.out.contains("lunch") && said.out.contains("enough"),
        "{said:?}"
    );
    let shown = shop
        .place
        .run(&["history", "show", held, "--json"])
        .must(0)
        .json();
    let id = shown["deployment"]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let by_id = shop
        .place
        .run(&["history", "show", &id, "--json"])
        .must(0)
        .json();
    assert_eq!(shown, by_id, "by number and by id");

    let told = shop
        .place
        .run(&["history", "verify", "--json"])
        .must(0)
        .json();
    assert_eq!(
        (&told["integrity"], &told["deployments"]),
        (&"whole".into(), &5.into())
    );

    let before = shop.records();
    let exported = shop
        .place
        .run(&["history", "export", "--format", "jsonl"])
        .must(0);
    let lines: Vec<Value> = exported
        .out
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert!(lines.len() as u64 >= before.as_u64().expect("a number"));
    for (earlier, later) in lines.iter().zip(&lines[1..]) {
        assert_eq!(earlier["hash"], later["prev_hash"], "one chain");
    }
    let enough = "\"$0\" history export --config \"$1\" | head -n 1 | wc -l";
    let mut piped = std::process::Command::new("bash");
    piped
        .args(["-o", "pipefail", "-c", enough])
        .arg(PROGRAM)
        .arg(shop.place.config());
    let said = crate::support::said(&mut piped).must(0);
    assert!(said.err.is_empty() && said.out.trim() == "1", "{said:?}");
}

#[test]
fn an_abort_does_not_wait_for_a_broken_configuration_to_be_mended() {
    let shop = Shop::open();
    shop.wait(&shop.deploy("v1")).must(0);
    let number = shop.deploy("v2");
    shop.place.run(&["hold", "shop", "-e", "prod"]).must(0);
    let file = shop.place.config();
    let valid = std::fs::read_to_string(&file).expect("readable");
    let broken = format!("{valid}\n[canary\nsteps = oops\n");
    std::fs::write(&file, broken).expect("written");
    shop.place.run(&["status"]).must(78);
    let promote = ["promote", "shop", "-e", "prod", "--confirm", "prod"];
    shop.place.run(&promote).must(78);
    let said = shop.place.run(&["abort", "shop", "-e", "prod"]).must(0);
    assert!(said.err.contains("is not valid"), "{said:?}");
    std::fs::write(&file, valid).expect("written");
    shop.wait(&number).must(1);
    assert_eq!(shop.status()["stable"]["version"], "v1");
}

#[test]
fn a_note_is_in_the_timeline_and_in_the_history() {
    let shop = Shop::open();
    let number = shop.deploy("v1");
    let note = ["note", "shop", "-e", "prod", "the \u{1b}[31mcoffee is cold"];
    shop.place.run(&note).must(0);
    shop.place
        .run(&["note", "shpo", "-e", "prod", "lost"])
        .must(78);
    shop.wait(&number).must(0);

    let is_note = |text: &Value| {
        let text = text.as_str().unwrap_or("");
        text.starts_with("note: the ") && text.ends_with("coffee is cold")
    };
    let status = shop.place.run(&["status", "--json"]).must(0).json();
    let timeline = status["engine"]["timeline"].as_array().expect("a list");
    let row = timeline.iter().find(|row| is_note(&row["text"]));
    let row = row.unwrap_or_else(|| panic!("no note in {timeline:?}"));
    assert_eq!(row["placement"], "shop@prod");
    let mut watching = Watching::begin(&shop.place);
    watching.until(|row| is_note(&row["text"]));

    let shown = shop.place.run(&["history", "show", &number]).must(0);
    let line = shown.out.lines().find(|line| line.contains("note: the "));
    let line = line.unwrap_or_else(|| panic!("no note in {shown:?}"));
    assert!(!line.contains('\u{1b}'), "cleaned at the door: {line:?}");
    let exported = shop.place.run(&["history", "export"]).must(0);
    let noted = exported.out.lines().filter(|line| line.contains("coffee"));
    assert_eq!(noted.count(), 1, "one record, and none of the refused one");
}

/// `watch --json` in the background, told line by line.
struct Watching {
    process: Background,
    rows: std::sync::mpsc::Receiver<Value>,
    reading: Option<std::thread::JoinHandle<()>>,
}

impl Watching {
    fn begin(place: &Place) -> Self {
        let mut command = place.command(&["watch", "shop", "-e", "prod", "--json"]);
        command.stdout(std::process::Stdio::piped());
        let mut process = Background(command.spawn().expect("it starts"));
        let out = process.0.stdout.take().expect("piped");
        let (tell, rows) = std::sync::mpsc::channel();
        let reading = std::thread::spawn(move || {
            for line in std::io::BufRead::lines(std::io::BufReader::new(out)) {
                let row: Value = serde_json::from_str(&line.expect("read")).expect("JSON");
                if tell.send(row).is_err() {
                    return;
                }
            }
        });
        Self {
            process,
            rows,
            reading: Some(reading),
        }
    }

    /// The next row that fits.
    fn until(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        loop {
            let row = self.rows.recv_timeout(PATIENCE).expect("it is told");
            // Of what is no placement's, the engine's own affairs are for everybody.
            let place = &row["placement"];
            assert!(place == "shop@prod" || place.is_null(), "{row}");
            if fits(&row) {
                return row;
            }
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.process.signal(Signal::KILL);
        self.process.ends();
        if let Some(reading) = self.reading.take() {
            // What it could not read is the test's failure already.
            let _ = reading.join();
        }
    }
}

#[test]
fn watch_prints_what_happens_as_lines_of_json() {
    let shop = Shop::open();
    let mut watching = Watching::begin(&shop.place);
    let number = shop.deploy("v1");
    shop.wait(&number).must(0);
    let done = watching.until(|row| {
        let text = row["text"].as_str().expect("a text").to_lowercase();
        text.starts_with("done: ")
    });
    assert!(done["seq"].is_u64());
}
