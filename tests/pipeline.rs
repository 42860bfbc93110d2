//! The stages of pipelines for real: programs that hang, fork and flood, git repositories, an
//! engine that is killed, a GitHub and a GitLab on loopback, a registry behind a real daemon.

#[path = "support/git.rs"]
mod git;
#[path = "support/needs.rs"]
mod needs;

#[path = "pipeline/support.rs"]
mod support;

#[path = "pipeline/checkouts.rs"]
mod checkouts;
#[path = "pipeline/commands.rs"]
mod commands;
#[path = "pipeline/external.rs"]
mod external;
#[path = "pipeline/images.rs"]
mod images;
#[path = "pipeline/killed.rs"]
mod killed;
