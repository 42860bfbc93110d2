//! The systemd unit of a system engine, as a text to be written to a file.

use super::super::exit::{Ended, Exit, Failure};
use super::super::print;

/// `{program}` is filled in.
const UNIT: &str = "\
# Wheelhouse's system engine. Put this into /etc/systemd/system/wheelhouse.service, then:
#   useradd --system --home-dir /var/lib/wheelhouse --shell /usr/sbin/nologin wheelhouse
#   install -d -m 0755 /etc/wheelhouse   (config.toml in it: root's, 0644; secrets by reference)
#   systemctl daemon-reload && systemctl enable --now wheelhouse
[Unit]
Description=Wheelhouse, the engine that steers deployments
After=network-online.target
Wants=network-online.target
StartLimitIntervalSec=0

[Service]
Type=notify
ExecStart={program} engine run --system
ExecReload=/bin/kill -HUP $MAINPID
Restart=always
RestartSec=1s
# Pings come only while the engine's own loop turns.
WatchdogSec=30s
TimeoutStartSec=2min
TimeoutStopSec=15s

User=wheelhouse
Group=wheelhouse
# Whoever may write to Docker's socket is root on this machine: prefer a TLS client certificate
# or a filtering proxy. HAProxy's stats socket needs `level admin` and this group.
#SupplementaryGroups=docker
#SupplementaryGroups=haproxy

# Made by systemd, given to the user above. The socket's own mode (0660) and [roles] decide who
# gets in; the directory must let everybody named there pass.
RuntimeDirectory=wheelhouse
RuntimeDirectoryMode=0755
StateDirectory=wheelhouse
StateDirectoryMode=0700
ConfigurationDirectory=wheelhouse
ConfigurationDirectoryMode=0755
# HAProxy's state file is written here by the engine; name its directory:
#ReadWritePaths=/var/lib/haproxy
UMask=0077
LimitCORE=0

NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectHostname=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
";

/// Prints it for the program that is running.
pub(super) fn print() -> Ended {
    let program =
        std::env::current_exe().map_err(|error| Failure::because(Exit::Unreachable, &error))?;
    let Some(program) = program.to_str().filter(|path| is_plain(path)) else {
        return Err(Failure::new(
            Exit::Usage,
            format!(
                "systemd cannot start {}: install wheelhouse where the path has no spaces or signs",
                program.display()
            ),
        ));
    };
    print::line(UNIT.replace("{program}", program).trim_end());
    Ok(Exit::Done)
}

/// Whether systemd takes a path as it stands, without quoting or specifiers.
fn is_plain(path: &str) -> bool {
    path.chars()
        .all(|c| c.is_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | '+'))
}
