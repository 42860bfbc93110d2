//! Rollouts of real processes under real load: host, engine and, where it stands in front, a real
//! HAProxy. Each scenario is told over both fronts, and each ends with the same questions: was a
//! request lost, had the new version ever more than its share, does the history verify, and is
//! the world as the history says?

#[path = "support/git.rs"]
mod git;
#[path = "support/haproxy.rs"]
mod haproxy;
#[path = "support/needs.rs"]
mod needs;

#[path = "support/prometheus.rs"]
mod real_prometheus;

#[path = "rollout/judge.rs"]
mod judge;
#[path = "rollout/load.rs"]
mod load;
#[path = "rollout/process.rs"]
mod process;
#[path = "rollout/stage.rs"]
mod stage;
#[path = "rollout/terminal.rs"]
mod terminal;

#[path = "rollout/back.rs"]
mod back;
#[path = "rollout/balancers.rs"]
mod balancers;
#[path = "rollout/deaths.rs"]
mod deaths;
#[path = "rollout/doctor.rs"]
mod doctor;
#[path = "rollout/engines.rs"]
mod engines;
#[path = "rollout/estate.rs"]
mod estate;
#[path = "rollout/everyday.rs"]
mod everyday;
#[path = "rollout/kills.rs"]
mod kills;
#[path = "rollout/parts.rs"]
mod parts;
#[path = "rollout/pipelines.rs"]
mod pipelines;
#[path = "rollout/prometheus.rs"]
mod prometheus;
#[path = "rollout/runbook.rs"]
mod runbook;
#[path = "rollout/stories.rs"]
mod stories;
#[path = "rollout/strategies.rs"]
mod strategies;
#[path = "rollout/workers.rs"]
mod workers;
