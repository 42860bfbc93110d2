use super::*;
use crate::engine::tests::stage::{Stage, soaking, stable};

fn access(place: &PlacementState, placement: &Placement) -> Access {
    let backend = &place.spec.balancers[0].balancer;
    let way = BalancerAccess::Haproxy {
        socket: "/run/it's here/admin.sock".into(),
        state_file: "/var/lib/haproxy/be.state".into(),
    };
    let socket = "/run/host.sock".into();
    Access {
        balancers: BTreeMap::from([((placement.clone(), backend.clone()), way)]),
        runtimes: BTreeMap::from([(
            place.spec.runtimes[0].clone(),
            RuntimeAccess::Host { socket },
        )]),
    }
}

fn page_of(stage: &Stage) -> Page {
    let placement = &stage.spec.placement;
    let access = access(stage.place(), placement);
    let environment = &placement.environment;
    let runbook = Runbook::of(&stage.state, &access, environment, None);
    runbook.pages[0].clone()
}

fn first_command(stage: &Stage) -> String {
    page_of(stage).steps[0].command.clone()
}

#[test]
fn every_server_is_set_and_what_leaves_traffic_goes_first() {
    let stage = soaking();
    let command = first_command(&stage);
    let at = |text: &str| {
        command
            .find(text)
            .unwrap_or_else(|| panic!("{text} in {command}"))
    };
    for server in &stage.spec.servers {
        at(&format!("/{} ", server.name));
    }
    assert!(at("state maint") < at("state ready"), "{command}");
    let instances = stage.place().instances.values();
    let stable = stage.place().stable().expect("a stable release");
    let mine = instances.filter(|it| it.release == stable).count();
    assert_eq!(command.matches("state ready").count(), mine);
}

#[test]
fn where_stable_has_no_traffic_it_comes_in_first() {
    let mut stage = soaking();
    let to = crate::model::PromoteTo::Full;
    stage.promote(to).expect("promote is taken");
    stage.pass_ms(2_000);
    let command = first_command(&stage);
    let (ready, maint) = (command.find("state ready"), command.find("state maint"));
    assert!(ready < maint, "{command}");
}

#[test]
fn all_but_the_needed_commands_are_comments_and_words_are_quoted() {
    let stage = soaking();
    let placement = &stage.spec.placement;
    let access = access(stage.place(), placement);
    let text = Runbook::of(&stage.state, &access, &placement.environment, None).text();
    let commands: Vec<_> = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    assert_eq!(commands.len(), 3, "{text}");
    assert!(commands.iter().all(|line| line.contains("socat")), "{text}");
    // The shell takes one level of quotes away, socat the other.
    let address = r"'UNIX-CONNECT:/run/it\'\''s here/admin.sock'";
    assert!(commands[0].ends_with(address), "{text}");
    assert!(text.contains("-X DELETE"), "{text}");
}

#[test]
fn what_cannot_be_told_is_said() {
    let stage = stable();
    let placement = &stage.spec.placement;
    let lost = Runbook::of(
        &stage.state,
        &Access::default(),
        &placement.environment,
        None,
    );
    assert!(lost.text().contains("no longer in the configuration"));
    let elsewhere = "elsewhere".parse().expect("a name");
    let nothing = Runbook::of(&stage.state, &Access::default(), &elsewhere, None);
    assert!(nothing.text().contains("Nothing was ever deployed"));
    assert!(
        page_of(&stage).stands[0]
            .as_str()
            .contains("asserts it again")
    );
}

#[test]
fn containers_are_named_by_their_labels_and_only_others_are_stopped() {
    let stage = soaking();
    let placement = &stage.spec.placement;
    let mut access = access(stage.place(), placement);
    let command = ["docker", "--host", "ssh://deploy@app 1"].map(str::to_owned);
    access.runtimes.insert(
        stage.spec.runtimes[0].clone(),
        RuntimeAccess::Docker {
            command: command.into(),
        },
    );
    let page = &Runbook::of(&stage.state, &access, &placement.environment, None).pages[0];
    let find = |what: &str| {
        let mut steps = page.steps.iter();
        steps
            .find(|step| step.command.contains(what))
            .expect("it is told")
    };
    let (start, stop) = (find("start"), find("stop"));
    let place = stage.place();
    let (stable, canary) = (place.stable().expect("v1"), place.canary().expect("v2"));
    assert!(
        start
            .command
            .contains(&format!("wheelhouse.release={stable}"))
    );
    assert!(
        stop.command
            .contains(&format!("wheelhouse.release={canary}"))
    );
    assert!(
        stop.command
            .contains("xargs -r docker --host 'ssh://deploy@app 1' stop -t 1")
    );
    assert!(!start.needed && !stop.needed, "a person decides");
}
