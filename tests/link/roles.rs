//! FAULTS 133 and 95: who may ask for what, over the real socket. Only the account books are the
//! test's own: they say who the uid behind the socket is.

use crate::support::*;
use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use wheelhouse::link::wire::{CommandRequest, Reply, Request};
use wheelhouse::link::{Access, AccountBook, ConnectError, Limits, ServerOptions, Trouble};
use wheelhouse::link::{Client, own_uid};
use wheelhouse::model::command::{Answer, PromoteTo, Refusal};
use wheelhouse::model::{Grant, Identity, Role, Roles};

/// Account books in which the caller's page can be rewritten, whatever their uid is.
#[derive(Debug)]
struct Book(Mutex<Identity>);

impl AccountBook for Book {
    fn find(&self, _: u32) -> io::Result<Identity> {
        Ok(self.0.lock().expect("no panic").clone())
    }
}

fn names(list: &[&str]) -> BTreeSet<String> {
    list.iter().map(ToString::to_string).collect()
}

fn identity(user: &str, groups: &[&str]) -> Identity {
    Identity {
        uid: 4_000,
        user: Some(user.to_owned()),
        groups: names(groups),
    }
}

fn roles() -> Roles {
    Roles {
        viewer: Grant {
            users: names(&["vera"]),
            groups: names(&["staff"]),
        },
        operator: Grant {
            users: names(&["otto"]),
            groups: names(&["deploy"]),
        },
    }
}

struct Team {
    engine: Engine,
    book: Arc<Book>,
    roles: watch::Sender<Roles>,
}

impl Team {
    async fn with(limits: Limits, who: Identity, told: Roles) -> Self {
        let book = Arc::new(Book(Mutex::new(who)));
        let (roles, told) = watch::channel(told);
        let options = ServerOptions {
            access: Access::by_name(told, Arc::<Book>::clone(&book)),
            ..options(limits)
        };
        let engine = Engine::with(options).await;
        Self {
            engine,
            book,
            roles,
        }
    }

    async fn of(who: Identity) -> Self {
        Self::with(limits(), who, roles()).await
    }

    fn become_(&self, who: Identity) {
        *self.book.0.lock().expect("no panic") = who;
    }
}

/// Every command there is.
fn commands() -> Vec<CommandRequest> {
    let placement = || "shop@prod".parse().expect("valid");
    let version = || "v2".parse().expect("valid");
    vec![
        CommandRequest::Deploy {
            placement: placement(),
            version: version(),
            reason: None,
            request_id: None,
        },
        CommandRequest::Promote {
            placement: placement(),
            to: PromoteTo::Next,
            revision: 1,
        },
        CommandRequest::Hold {
            placement: placement(),
            reason: None,
        },
        CommandRequest::Resume {
            placement: placement(),
            revision: 1,
        },
        CommandRequest::Abort {
            placement: placement(),
            reason: None,
        },
        CommandRequest::Rollback {
            placement: placement(),
            to: None,
            reason: None,
            urgency: wheelhouse::model::Urgency::Ordinary,
        },
        CommandRequest::Restart {
            placement: placement(),
            reason: None,
        },
        CommandRequest::Scale {
            placement: placement(),
            instances: 3,
            reason: None,
        },
        CommandRequest::Drain {
            placement: placement(),
            server: "s1".parse().expect("valid"),
            reason: None,
        },
        CommandRequest::Undrain {
            placement: placement(),
            server: "s1".parse().expect("valid"),
        },
        CommandRequest::Drill {
            placement: placement(),
            reason: None,
        },
        CommandRequest::Note {
            placement: placement(),
            text: "here".into(),
        },
        CommandRequest::DeployGreen {
            placement: placement(),
            version: version(),
            reason: None,
            request_id: None,
        },
        CommandRequest::SwitchTraffic {
            placement: placement(),
            green_id: "#7".to_owned(),
            revision: 1,
        },
        CommandRequest::RollbackDeployment {
            placement: placement(),
            id: "#7".to_owned(),
            reason: "it leaks".into(),
            urgency: wheelhouse::model::Urgency::Emergency,
        },
    ]
}

/// Every request there is, and what one must be to make it.
fn requests() -> Vec<(Request, Role)> {
    let one = || commands().remove(0);
    let looks = [
        Request::Preview { command: one() },
        Request::DryRun { command: one() },
        Request::Snapshot,
        Request::Watch,
        Request::Show { id: "1".to_owned() },
        Request::Logs {
            placement: "shop@prod".parse().expect("valid"),
            server: "s1".parse().expect("valid"),
            from: 0,
        },
        Request::MonitorBlueGreen {
            placement: "shop@prod".parse().expect("valid"),
            blue_id: "#6".to_owned(),
            green_id: "#7".to_owned(),
        },
    ];
    let acts = commands()
        .into_iter()
        .map(|command| Request::Command { command })
        .chain([Request::Stop]);
    let looks = looks.into_iter().map(|request| (request, Role::Viewer));
    looks
        .chain(acts.map(|request| (request, Role::Operator)))
        .collect()
}

fn is_refused(reply: &Reply) -> bool {
    let forbidden = |answer: &Answer| {
        matches!(answer, Answer::Refused(Refusal::Forbidden { why })
            if why.as_str().contains("group deploy, user otto, root"))
    };
    match reply {
        Reply::Answer { answer } => forbidden(answer),
        Reply::Error { text } => text.as_str().contains("operators here are"),
        _ => false,
    }
}

#[tokio::test]
async fn fault_133_every_role_and_every_request() {
    let people = [
        (identity("otto", &[]), Role::Operator),
        (identity("olga", &["deploy", "staff"]), Role::Operator),
        (identity("vera", &["vera"]), Role::Viewer),
        (identity("viktor", &["staff"]), Role::Viewer),
    ];
    for (who, role) in people {
        let team = Team::of(who.clone()).await;
        let (client, hello) = team.engine.client().await;
        assert_eq!(hello.role, role, "{who:?}");
        assert_eq!(hello.you.to_string(), who.user.clone().expect("named"));
        let mut refused = 0;
        for (request, needed) in requests() {
            let reply = client.ask(request.clone(), PATIENCE).await;
            let reply = reply.expect("answered");
            assert_eq!(is_refused(&reply), role < needed, "{request:?}: {reply:?}");
            refused += usize::from(role < needed);
        }
        // What was refused never reached the engine, only word of it did.
        let asked = team.engine.script.asked.borrow().clone();
        let acted = asked
            .iter()
            .filter(|(_, request)| matches!(request, Request::Command { .. } | Request::Stop));
        let all = commands().len() + 1;
        assert_eq!(
            (acted.count(), refused),
            match role {
                Role::Operator => (all, 0),
                Role::Viewer => (0, all),
            }
        );
        let denied = team.engine.script.denied.borrow().clone();
        assert_eq!(denied.len(), if role == Role::Viewer { all - 1 } else { 0 });
        assert!(denied.iter().all(|(by, ..)| *by == hello.you));
    }
}

#[tokio::test]
async fn whoever_no_role_names_is_sent_away_before_a_word_and_reported() {
    let nobody = Roles::default();
    let people = [
        (identity("eve", &["other"]), roles()),
        (identity("otto", &["deploy"]), nobody),
        (
            Identity {
                user: None,
                ..identity("", &[])
            },
            roles(),
        ),
    ];
    for (who, told) in people {
        let team = Team::with(limits(), who, told).await;
        let mut raw = Raw::to(&team.engine).await;
        raw.is_sent_away("this engine is not for you").await;
        team.engine
            .script
            .has_trouble(|one| matches!(one, Trouble::Stranger { uid, .. } if *uid == own_uid()))
            .await;
        let error = Client::connect(&team.engine.socket, &caller(false)).await;
        let error = error.expect_err("refused");
        assert!(matches!(error, ConnectError::Refused { .. }), "{error}");
        let told = error.to_string();
        for secret in ["deploy", "otto", "shop"] {
            assert!(!told.contains(secret), "{secret} in {told}");
        }
    }
}

#[tokio::test]
async fn fault_095_whoever_loses_a_group_loses_its_role_at_the_next_command() {
    let team = Team::of(identity("olga", &["deploy"])).await;
    let (client, hello) = team.engine.client().await;
    assert_eq!(hello.role, Role::Operator);
    let abort = async || client.ask(abort(), PATIENCE).await.expect("answered");
    assert!(!is_refused(&abort().await));
    team.become_(identity("olga", &["staff"]));
    assert!(is_refused(&abort().await), "the connection is the same one");
    team.become_(identity("olga", &["deploy"]));
    assert!(!is_refused(&abort().await));
    // So does whoever the roles no longer name.
    team.roles
        .send_modify(|roles| roles.operator.groups.clear());
    let reply = abort().await;
    let Reply::Answer {
        answer: Answer::Refused(Refusal::Forbidden { why }),
    } = &reply
    else {
        panic!("{reply:?}");
    };
    assert!(why.as_str().contains("this engine is not for you"), "{why}");
}

#[tokio::test]
async fn a_console_of_somebody_who_may_not_even_look_any_more_is_closed() {
    let limits = Limits {
        recheck: Duration::from_millis(50),
        ..limits()
    };
    let team = Team::with(limits, identity("vera", &[]), roles()).await;
    let (client, _) = team.engine.client().await;
    let mut snapshots = client.watch(PATIENCE).await.expect("watching");
    assert!(soon("a snapshot", snapshots.next()).await.is_some());
    team.become_(identity("vera", &["none"]));
    team.roles.send_modify(|roles| roles.viewer.users.clear());
    while soon("the end", snapshots.next()).await.is_some() {}
    let why = client.why_ended();
    assert!(why.as_str().contains("do not name you"), "{why}");
}
