use super::*;
use crate::model::Grant;
use std::sync::atomic::{AtomicBool, Ordering};

/// Account books with one page, which can be closed.
#[derive(Debug, Default)]
struct Page {
    groups: Mutex<BTreeSet<String>>,
    closed: AtomicBool,
}

impl AccountBook for Page {
    fn find(&self, uid: u32) -> io::Result<Identity> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(io::Error::other("out of reach"));
        }
        Ok(Identity {
            uid,
            user: Some("ada".to_owned()),
            groups: self.groups.lock().expect("no panic").clone(),
        })
    }
}

fn names(list: &[&str]) -> BTreeSet<String> {
    list.iter().map(ToString::to_string).collect()
}

fn ada() -> Peer {
    Peer {
        uid: 4_000,
        pid: None,
    }
}

fn deployers() -> Roles {
    Roles {
        operator: Grant {
            users: BTreeSet::new(),
            groups: names(&["deploy"]),
        },
        ..Roles::default()
    }
}

#[tokio::test]
async fn a_role_is_what_the_books_and_the_roles_say_at_that_moment() {
    let page = Arc::new(Page::default());
    let (tell, roles) = watch::channel(deployers());
    let access = Access::by_name(roles, Arc::<Page>::clone(&page));
    let role = || access.role(ada(), Urgency::Ordinary);
    assert_eq!(role().await, Err(Denial::Stranger));
    *page.groups.lock().expect("no panic") = names(&["deploy"]);
    assert_eq!(role().await, Ok(Role::Operator));
    *page.groups.lock().expect("no panic") = names(&["other"]);
    assert_eq!(
        role().await,
        Err(Denial::Stranger),
        "taken out of the group"
    );
    tell.send_modify(|roles| roles.viewer.users = names(&["ada"]));
    assert_eq!(role().await, Ok(Role::Viewer), "granted by a reload");
    assert_eq!(access.person(ada()).await.to_string(), "ada");
}

#[tokio::test]
async fn silent_books_stop_everything_but_an_abort_of_somebody_known() {
    let page = Arc::new(Page::default());
    *page.groups.lock().expect("no panic") = names(&["deploy"]);
    let (_tell, roles) = watch::channel(deployers());
    let access = Access::by_name(roles, Arc::<Page>::clone(&page));
    page.closed.store(true, Ordering::SeqCst);
    let unknown = access.role(ada(), Urgency::Urgent).await;
    assert!(
        matches!(unknown, Err(Denial::Unknown { .. })),
        "{unknown:?}"
    );
    page.closed.store(false, Ordering::SeqCst);
    assert_eq!(
        access.role(ada(), Urgency::Ordinary).await,
        Ok(Role::Operator)
    );
    page.closed.store(true, Ordering::SeqCst);
    let ordinary = access.role(ada(), Urgency::Ordinary).await;
    assert!(
        matches!(ordinary, Err(Denial::Unknown { .. })),
        "{ordinary:?}"
    );
    assert_eq!(
        access.role(ada(), Urgency::Urgent).await,
        Ok(Role::Operator)
    );
}

#[tokio::test]
async fn books_that_never_answer_are_given_up_after_a_moment() {
    #[derive(Debug)]
    struct Stuck(Mutex<std::sync::mpsc::Receiver<()>>);
    impl AccountBook for Stuck {
        fn find(&self, _: u32) -> io::Result<Identity> {
            let _ = self.0.lock().expect("no panic").recv();
            Err(io::Error::other("let go"))
        }
    }
    let (let_go, stuck) = std::sync::mpsc::channel();
    let (_tell, roles) = watch::channel(deployers());
    let access = Access::by_name(roles, Arc::new(Stuck(Mutex::new(stuck))));
    let role = access.role(ada(), Urgency::Ordinary).await;
    let Err(Denial::Unknown { why }) = role else {
        panic!("{role:?}");
    };
    assert!(why.as_str().contains("no answer within"), "{why}");
    drop(let_go);
}

#[test]
fn the_machines_own_books_name_this_process() {
    let found = MachineAccounts.find(own_uid()).expect("readable");
    assert_eq!(found.uid, own_uid());
    if let Some(user) = uzers::get_user_by_uid(own_uid()) {
        assert_eq!(found.user.as_deref(), user.name().to_str());
        assert!(!found.groups.is_empty());
    }
    let nobody = MachineAccounts.find(4_123_456_789).expect("readable");
    assert_eq!((nobody.user, nobody.groups.len()), (None, 0));
}
