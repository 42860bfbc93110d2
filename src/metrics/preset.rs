//! The ready-made questions, by preset. A clean canary has no 5xx series at all, so errors are
//! asked with a zero for those that have requests.

use crate::model::metrics::{Figure, Preset};

/// What a source is asked, before anything is filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Questions {
    /// What selects one release's series.
    pub selector: &'static str,
    /// The series whose newest sample tells the age of the answers.
    pub series: &'static str,
    /// One question per figure.
    pub queries: &'static [(Figure, &'static str)],
}

/// The questions of a preset.
pub fn questions(preset: Preset) -> &'static Questions {
    match preset {
        Preset::Http => &HTTP,
        Preset::Haproxy => &HAPROXY,
        Preset::Cadvisor => &CADVISOR,
        Preset::Node => &NODE,
    }
}

const HTTP: Questions = Questions {
    selector: r#"service="{service}",environment="{env}",release="{release}""#,
    series: "http_requests_total{{selector}}",
    queries: &[
        (
            Figure::Requests,
            "sum(increase(http_requests_total{{selector}}[{window}]))",
        ),
        (
            Figure::Errors,
            r#"sum(increase(http_requests_total{code=~"5..",{selector}}[{window}])) or 0 * sum(increase(http_requests_total{{selector}}[{window}]))"#,
        ),
        (
            Figure::Latency,
            "sum by (le) (increase(http_request_duration_seconds_bucket{{selector}}[{window}]))",
        ),
        (
            Figure::Mean,
            "1000 * sum(rate(http_request_duration_seconds_sum{{selector}}[{window}])) / sum(rate(http_request_duration_seconds_count{{selector}}[{window}]))",
        ),
        (Figure::Uptime, "avg(avg_over_time(up{{selector}}[1h]))"),
    ],
};

const HAPROXY: Questions = Questions {
    selector: r#"proxy="{backend}",server=~"{servers}""#,
    series: "haproxy_server_http_responses_total{{selector}}",
    queries: &[
        (
            Figure::Requests,
            "sum(increase(haproxy_server_http_responses_total{{selector}}[{window}]))",
        ),
        (
            Figure::Errors,
            r#"sum(increase(haproxy_server_http_responses_total{code="5xx",{selector}}[{window}])) + sum(increase(haproxy_server_response_errors_total{{selector}}[{window}])) + sum(increase(haproxy_server_connection_errors_total{{selector}}[{window}])) + sum(increase(haproxy_server_retry_warnings_total{{selector}}[{window}])) + sum(increase(haproxy_server_redispatch_warnings_total{{selector}}[{window}]))"#,
        ),
    ],
};

const CADVISOR: Questions = Questions {
    selector: r#"container_label_wheelhouse_release="{release}""#,
    series: "container_last_seen{{selector}}",
    queries: &[
        (
            Figure::Cpu,
            "max(sum by (id) (rate(container_cpu_usage_seconds_total{{selector}}[{window}])) / on (id) max by (id) (container_spec_cpu_quota{{selector}} / container_spec_cpu_period{{selector}})) or max(sum by (id) (rate(container_cpu_usage_seconds_total{{selector}}[{window}]))) / scalar(max(machine_cpu_cores))",
        ),
        (
            Figure::Memory,
            "max(container_memory_working_set_bytes{{selector}} / (container_spec_memory_limit_bytes{{selector}} > 0)) or max(container_memory_working_set_bytes{{selector}}) / scalar(max(machine_memory_bytes))",
        ),
    ],
};

const NODE: Questions = Questions {
    selector: "",
    series: "node_filesystem_size_bytes{{selector}}",
    queries: &[(
        Figure::Disk,
        r#"max(1 - node_filesystem_avail_bytes{fstype!~"tmpfs|ramfs|squashfs|overlay|iso9660",{selector}} / node_filesystem_size_bytes{fstype!~"tmpfs|ramfs|squashfs|overlay|iso9660",{selector}})"#,
    )],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preset_asks_for_exactly_what_it_is_said_to_supply() {
        for (word, preset) in Preset::ALL {
            let asked: Vec<_> = questions(preset).queries.iter().map(|(f, _)| *f).collect();
            assert_eq!(asked, preset.supplies(), "{word}");
        }
    }
}
