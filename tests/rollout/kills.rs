//! The engine dies at every record of every strategy and of every way back. Whoever comes after it
//! ends what was begun, and the next record is its own last one.
//!
//! Rows 1–7 of the fault catalogue: a death follows each record that became durable, so that most
//! meet an engine that is still recovering from the one before.

use crate::judge::{Expected, judge, world_is_as_the_history_says};
use crate::stage::{ENVIRONMENT, Front, Pace, QUICK, SERVICE, Stage, placement, run};
use crate::strategies::{ONE_BY_ONE, SLOTS, first_servers};
use crate::workers::worker;
use std::path::Path;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use wheelhouse::engine;
use wheelhouse::history::HistoryReader;
use wheelhouse::model::{Entry, Phase, PlacementState, RolloutNumber, State, Status};
use wheelhouse::view::snapshot::InstanceRow;

/// How long one record may take to come.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks into the history.
const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// Fewer deaths than this mean that the enumeration passes records by. There are about 200.
const DEATHS_MIN: usize = 60;

/// A service whose engine dies.
struct Case {
    strategy: &'static str,
    /// Its configuration.
    edit: fn(String, &Path) -> String,
    /// How a person sends it on where it waits for one.
    promote: &'static [&'static str],
    /// Whether requests go on meanwhile, of which none may be lost.
    under_load: bool,
}

const CASES: [Case; 5] = [
    Case {
        strategy: "canary",
        edit: |text, _| text.replace("instances = 3\n", "instances = 1\n"),
        promote: &[],
        under_load: true,
    },
    Case {
        strategy: "blue-green",
        edit: |text, _| {
            let text = text.replace("instances = 3\n", "instances = 1\n");
            let switch = "[blue_green]\nswitch = [{ weight = 50, pause = true }, 100]\n";
            format!("{text}\n{SLOTS}{switch}soak = \"1s\"\nconfirm = false\n")
        },
        promote: &[],
        under_load: true,
    },
    Case {
        strategy: "rolling",
        edit: |text, _| {
            let text = text.replace("instances = 3\n", "instances = 2\n");
            format!(
                "{}{ONE_BY_ONE}pause_after_first = true\n",
                first_servers(&text, 3)
            )
        },
        promote: &[],
        under_load: true,
    },
    Case {
        strategy: "recreate",
        edit: |text, _| {
            let text = text.replace("instances = 3\n", "instances = 1\n");
            format!("{}\n[recreate]\nwatch = \"10m\"\n", first_servers(&text, 2))
        },
        promote: &["--full"],
        under_load: false,
    },
    Case {
        strategy: "rolling",
        edit: |text, _| {
            let quiet = "traffic = \"none\"\nquiet = \"SIGTERM\"\n";
            let text = worker(&text).replace("traffic = \"none\"\n", quiet);
            format!("{text}pause_after_first = true\n")
        },
        promote: &[],
        under_load: false,
    },
];

/// A step that waits for a person, so that there is something to abort.
const PAUSED: Pace = Pace {
    steps: "[{ weight = 50, pause = true }, 100]",
    ..QUICK
};

/// A stage, what its history says, and how often its engine died.
struct Play {
    stage: Stage,
    case: &'static Case,
    state: State,
    deaths: usize,
}

/// What the history says next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Something new of the rollout is durable.
    Record,
    /// It waits for a person.
    Asks,
    /// It is over, and what it left behind is gone.
    Over,
}

impl Play {
    /// Reads what became durable since; says whether anything did but what each engine says anew:
    /// that it began, and what it thinks of the evidence.
    fn read(&mut self) -> bool {
        let reader = HistoryReader::open(&self.stage.state_dir()).expect("a history");
        let newer = reader.records(self.state.seq, u32::MAX).expect("records");
        let mut is_new = false;
        for record in &newer {
            is_new |= !matches!(
                record.entry,
                Entry::EngineStarted { .. } | Entry::VerdictChanged { .. }
            );
            engine::evolve(&mut self.state, record);
        }
        is_new
    }

    fn place(&self) -> &PlacementState {
        &self.state.placements[&placement()]
    }

    /// Whether a rollout waits for a person.
    fn asks(&self) -> bool {
        let open = self.place().rollout.as_ref();
        open.is_some_and(|open| {
            let watched = self.case.strategy == "recreate" && !open.is_reverting();
            open.hold.is_some() || watched && matches!(open.phase, Phase::Soaking { .. })
        })
    }

    fn is_over(&self, number: RolloutNumber) -> bool {
        let place = self.place();
        let ended = place
            .last
            .as_ref()
            .is_some_and(|last| last.number == number);
        ended && place.rollout.is_none() && !place.instances.values().any(|one| one.is_leaving())
    }

    /// Waits for what comes next. A person is asked for once at a time: `asked` is what one says.
    async fn next(&mut self, number: RolloutNumber, asked: Option<&JoinHandle<()>>) -> Next {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if self.read() {
                return Next::Record;
            }
            if self.is_over(number) {
                return Next::Over;
            }
            if asked.is_none_or(JoinHandle::is_finished) && self.asks() {
                return Next::Asks;
            }
            assert!(
                Instant::now() < deadline,
                "{}: nothing more of {number} for {PATIENCE:?}; {:#?}",
                self.case.strategy,
                self.place().rollout
            );
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Says something to the engine, which may die before it answers.
    fn says(&self, arguments: &[&str]) -> JoinHandle<()> {
        let own: Vec<String> = arguments.iter().map(|&word| word.to_owned()).collect();
        let config = self.stage.config.clone();
        tokio::spawn(async move {
            let words: Vec<&str> = own.iter().map(String::as_str).collect();
            let place = ["-e", ENVIRONMENT, "--confirm", ENVIRONMENT];
            run(&config, &[&words[..], &place].concat()).await;
        })
    }

    fn dies(&mut self) {
        self.stage.engine.kill();
        self.stage.begin_engine();
        self.deaths += 1;
    }

    /// Begins a rollout; an engine that dies at its first record has not answered yet.
    async fn begins(&mut self, arguments: &[&str]) -> RolloutNumber {
        let number = RolloutNumber(self.state.rollouts + 1);
        let asked = self.says(arguments);
        let deadline = Instant::now() + PATIENCE;
        while self.state.rollouts < number.0 {
            assert!(Instant::now() < deadline, "{arguments:?} began nothing");
            self.read();
            sleep(LOOK_AGAIN).await;
        }
        self.dies();
        asked.await.expect("no panic");
        number
    }

    /// Lets the engine die at each record until the rollout is over; where it waits for a person,
    /// one says this.
    async fn ends(&mut self, number: RolloutNumber, person: &[&str]) -> Status {
        let mut asked = None;
        loop {
            match self.next(number, asked.as_ref()).await {
                Next::Record => self.dies(),
                Next::Asks => asked = Some(self.says(person)),
                Next::Over => break,
            }
        }
        self.place().last.as_ref().expect("it is over").status
    }

    /// Begins a rollout, and ends it.
    async fn goes(&mut self, arguments: &[&str]) -> Status {
        let number = self.begins(arguments).await;
        let promote = [&["promote", SERVICE], self.case.promote].concat();
        self.ends(number, &promote).await
    }

    /// Waits for a person's turn without any death, takes it back, and lets the engine die on the
    /// way.
    async fn is_aborted(&mut self, version: &str) -> Status {
        let number = self.stage.deploy(version).await;
        while self.next(number, None).await != Next::Asks {}
        self.ends(number, &["abort", SERVICE]).await
    }

    /// What runs, what has traffic and what is recorded are the same, and this version is stable.
    async fn stands(&self, version: &str, what: &str) {
        let view = self
            .stage
            .until(&format!("{version} after {what}"), |view| {
                let well = |row: &&InstanceRow| {
                    row.version.as_str() == version
                        && row.status.as_str() == "up"
                        && row.healthy == Some(true)
                };
                let mine = view.instances.iter().filter(well).count();
                let stable = view.stable.as_ref();
                mine == self.place().spec.instances as usize
                    && stable.is_some_and(|stable| stable.version.as_str() == version)
            })
            .await;
        assert!(view.rollout.is_none(), "{what}: {:#?}", view.rollout);
        if self.place().spec.has_traffic() {
            world_is_as_the_history_says(&self.stage, version).await;
        }
    }
}

async fn played(case: &'static Case) -> usize {
    let stage = Stage::set_as(case.strategy, Front::Embedded, PAUSED, case.edit).await;
    let stage = stage.expect("the embedded front is always there");
    let load = case.under_load.then(|| stage.load());
    let mut play = Play {
        stage,
        case,
        state: State::default(),
        deaths: 0,
    };
    play.read();
    for (what, arguments, version) in [
        ("deploy", &["deploy", SERVICE, "v2"][..], "v2"),
        ("restart", &["restart", SERVICE], "v2"),
        ("rollback", &["rollback", SERVICE], "v1"),
    ] {
        assert_eq!(play.goes(arguments).await, Status::Succeeded, "{what}");
        play.stands(version, what).await;
    }
    assert_ne!(play.is_aborted("v5").await, Status::Succeeded);
    play.stands("v1", "abort").await;
    eprintln!("{}: the engine died {} times", case.strategy, play.deaths);
    match load {
        Some(load) => judge(&play.stage, load, &Expected::of("v1", &["v2", "v5"])).await,
        None => {
            let said = play.stage.run(&["history", "verify"]).await;
            assert_eq!(said.code, 0, "{said:?}");
        }
    }
    play.deaths
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_007_the_engine_dies_at_every_record_of_every_strategy_and_way_back() {
    let deaths = futures::future::join_all(CASES.iter().map(played)).await;
    let all: usize = deaths.iter().sum();
    assert!(all >= DEATHS_MIN, "{deaths:?}");
}
