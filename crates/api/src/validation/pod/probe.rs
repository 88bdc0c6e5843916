//! Probes and lifecycle hooks.

use document::Value;
use meta::field::{Error, Path};
use meta::names;

use super::spec::Spec;
use crate::validation::check::Check;

pub(super) fn probes(check: &mut Check, all: &Spec<'_>, container: &Value, path: &Path) {
    for (field, once) in [("livenessProbe", true), ("readinessProbe", false), ("startupProbe", true)] {
        let Some(probe) = container.get(field).filter(|p| !p.is_null()) else { continue };
        let at = path.child(field);
        common(check, all, probe, &at);
        if once {
            let successes = probe["successThreshold"].as_i64().unwrap_or_default();
            if successes != 1 {
                check.invalid(&at.child("successThreshold"), successes, "must be 1");
            }
        } else if let Some(seconds) = probe["terminationGracePeriodSeconds"].as_i64() {
            check.invalid(&at.child("terminationGracePeriodSeconds"), seconds, "must not be set for readinessProbes");
        }
    }
}

fn common(check: &mut Check, all: &Spec<'_>, probe: &Value, path: &Path) {
    handler(check, all, probe, path);
    let numbers = ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"];
    check.non_negatives(path, probe, &numbers);
    if let Some(seconds) = probe["terminationGracePeriodSeconds"].as_i64().filter(|s| *s <= 0) {
        check.invalid(&path.child("terminationGracePeriodSeconds"), seconds, "must be greater than 0");
    }
}

pub(super) fn lifecycle(check: &mut Check, all: &Spec<'_>, lifecycle: &Value, path: &Path) {
    for hook in ["postStart", "preStop"] {
        if let Some(action) = lifecycle.get(hook).filter(|a| !a.is_null()) {
            handler(check, all, action, &path.child(hook));
        }
    }
    if let Some(signal) = lifecycle["stopSignal"].as_str() {
        stop_signal(check, all, signal, &path.child("stopSignal"));
    }
}

fn handler(check: &mut Check, all: &Spec<'_>, handler: &Value, path: &Path) {
    let mut count = 0;
    for kind in ["exec", "httpGet", "tcpSocket", "grpc", "sleep"] {
        let Some(action) = handler.get(kind).filter(|a| !a.is_null()) else { continue };
        let at = path.child(kind);
        count += 1;
        if count > 1 {
            check.forbidden(&at, "may not specify more than 1 handler type");
            continue;
        }
        match kind {
            "exec" if action["command"].is_empty() => check.required(&at.child("command"), ""),
            "httpGet" => http(check, action, &at),
            "tcpSocket" | "grpc" => check.port(&at.child("port"), &action["port"]),
            "sleep" => sleep(check, all, action, &at),
            _ => {}
        }
    }
    if count == 0 {
        check.required(path, "must specify a handler type");
    }
}

fn http(check: &mut Check, action: &Value, path: &Path) {
    if action["path"].str().is_empty() {
        check.required(&path.child("path"), "");
    }
    check.port(&path.child("port"), &action["port"]);
    if !["HTTP", "HTTPS"].contains(&action["scheme"].str()) {
        check.push(Error::not_supported(&path.child("scheme"), action["scheme"].str(), &["HTTP", "HTTPS"]));
    }
    for header in action["httpHeaders"].items() {
        let name = header["name"].str();
        check.format(&path.child("httpHeaders"), name, &names::http_header(name));
    }
}

fn sleep(check: &mut Check, all: &Spec<'_>, action: &Value, path: &Path) {
    let seconds = action["seconds"].as_i64().unwrap_or_default();
    if let Some(grace) = all.grace.filter(|g| seconds < 0 || seconds > *g) {
        let detail = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
        check.invalid(path, seconds, &detail);
    }
}

fn stop_signal(check: &mut Check, all: &Spec<'_>, signal: &str, path: &Path) {
    match all.spec["os"]["name"].str() {
        _ if all.spec["os"].is_null() => {
            check.forbidden(path, "may not be set for containers with empty `spec.os.name`")
        }
        "windows" if !["SIGKILL", "SIGTERM"].contains(&signal) => {
            check.push(Error::not_supported(path, signal, &["SIGKILL", "SIGTERM"]));
        }
        "linux" if !SIGNALS.contains(&signal) => check.push(Error::not_supported(path, signal, &SIGNALS)),
        _ => {}
    }
}

/// Sorted, as upstream lists them.
const SIGNALS: [&str; 65] = [
    "SIGABRT",
    "SIGALRM",
    "SIGBUS",
    "SIGCHLD",
    "SIGCLD",
    "SIGCONT",
    "SIGFPE",
    "SIGHUP",
    "SIGILL",
    "SIGINT",
    "SIGIO",
    "SIGIOT",
    "SIGKILL",
    "SIGPIPE",
    "SIGPOLL",
    "SIGPROF",
    "SIGPWR",
    "SIGQUIT",
    "SIGRTMAX",
    "SIGRTMAX-1",
    "SIGRTMAX-10",
    "SIGRTMAX-11",
    "SIGRTMAX-12",
    "SIGRTMAX-13",
    "SIGRTMAX-14",
    "SIGRTMAX-2",
    "SIGRTMAX-3",
    "SIGRTMAX-4",
    "SIGRTMAX-5",
    "SIGRTMAX-6",
    "SIGRTMAX-7",
    "SIGRTMAX-8",
    "SIGRTMAX-9",
    "SIGRTMIN",
    "SIGRTMIN+1",
    "SIGRTMIN+10",
    "SIGRTMIN+11",
    "SIGRTMIN+12",
    "SIGRTMIN+13",
    "SIGRTMIN+14",
    "SIGRTMIN+15",
    "SIGRTMIN+2",
    "SIGRTMIN+3",
    "SIGRTMIN+4",
    "SIGRTMIN+5",
    "SIGRTMIN+6",
    "SIGRTMIN+7",
    "SIGRTMIN+8",
    "SIGRTMIN+9",
    "SIGSEGV",
    "SIGSTKFLT",
    "SIGSTOP",
    "SIGSYS",
    "SIGTERM",
    "SIGTRAP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGUSR1",
    "SIGUSR2",
    "SIGVTALRM",
    "SIGWINCH",
    "SIGXCPU",
    "SIGXFSZ",
];
