use std::{sync::Arc, time::Duration};

use quoit_client::{Effect, Refusal};

use super::*;
use crate::config::{Config, Settings};

/// What a user reads, and the exit code.
fn check(error: impl Into<CliError>, exit: Exit, expected: &str) {
    let error = error.into();
    assert_eq!(error.exit, exit);
    let mut written = anstream::StripStream::new(Vec::new());
    error.write(&mut written).unwrap();
    assert_eq!(String::from_utf8(written.into_inner()).unwrap(), expected);
}

fn exits(error: impl Into<CliError>, exit: Exit) {
    let error = error.into();
    assert_eq!(error.exit, exit, "{error:?}");
}

fn timeout() -> DialError {
    DialError::Timeout { address: "127.0.0.1:7750".parse().unwrap(), waited: Duration::from_secs(3) }
}

fn refused() -> DialError {
    DialError::CertificateRefused { address: "127.0.0.1:7760".parse().unwrap(), reason: "it has expired".into() }
}

fn session(code: ErrorCode) -> DialError {
    DialError::SessionRefused { address: "127.0.0.1:7750".parse().unwrap(), code, text: String::new() }
}

fn unreadable() -> CredentialsError {
    CredentialsError::Unreadable { path: "certs/client/tls.crt".into(), source: io::ErrorKind::NotFound.into() }
}

fn readable_by_others() -> CredentialsError {
    CredentialsError::KeyReadableByOthers { path: "certs/client/tls.key".into(), mode: 0o644 }
}

fn unreachable_by(attempts: Vec<DialError>) -> ConnectError {
    let seeds = (7750..).map(|port| format!("127.0.0.1:{port}").parse().unwrap());
    ConnectError::Unreachable { attempts: seeds.zip(attempts).collect() }
}

#[test]
fn errors_are_told_as_what_why_and_try() {
    check(
        unreachable_by(vec![timeout()]),
        Exit::Unreachable,
        "error: cannot connect to any of 127.0.0.1:7750\n  \
         why: no answer from 127.0.0.1:7750 within 3.0 s\n  \
         try: is a node listening on 127.0.0.1:7750/udp, and does a firewall let UDP pass?\n",
    );
    check(
        readable_by_others(),
        Exit::Denied,
        "error: the private key certs/client/tls.key can be read by others (mode 644)\n  \
         try: chmod 600 certs/client/tls.key\n",
    );
    check(
        Config::try_from(Settings { vnodes: 5000, ..Settings::new("certs") }).unwrap_err(),
        Exit::Usage,
        "error: vnodes cannot be used\n  \
         why: setting `vnodes`: at most 4096\n  \
         try: quoit config sample, which explains every setting\n",
    );
}

#[test]
fn answers_and_interruptions_say_nothing_more() {
    check(CliError::no(), Exit::No, "");
    check(CliError::new(Exit::Interrupted, ""), Exit::Interrupted, "");
    check(io::Error::from(io::ErrorKind::BrokenPipe), Exit::Quiet, "");
}

#[test]
fn causes_of_several_lines_are_indented() {
    check(CliError::usage("no").why("one\ntwo\n"), Exit::Usage, "error: no\n  why: one\n       two\n");
}

#[test]
fn failed_connections_have_their_exit_codes() {
    exits(ConnectError::Credentials(Arc::new(unreadable())), Exit::Usage);
    exits(ConnectError::Credentials(Arc::new(readable_by_others())), Exit::Denied);
    exits(ConnectError::NoSeeds, Exit::Usage);
    exits(ConnectError::Socket(Arc::new(io::ErrorKind::PermissionDenied.into())), Exit::Unreachable);
    let not_formed = ConnectError::NotFormed { seed: "a:1".parse().unwrap(), text: "waiting for n2".into() };
    exits(not_formed, Exit::Cluster);
    exits(unreachable_by(vec![timeout(), refused()]), Exit::Denied);
    exits(unreachable_by(vec![timeout(), session(ErrorCode::ShuttingDown)]), Exit::Cluster);
}

#[test]
fn failed_dials_have_their_exit_codes() {
    exits(timeout(), Exit::Unreachable);
    exits(refused(), Exit::Denied);
    exits(session(ErrorCode::WrongRole), Exit::Denied);
    exits(session(ErrorCode::TooManyConnections), Exit::Cluster);
    exits(DialError::from(readable_by_others()), Exit::Denied);
}

#[test]
fn failed_requests_have_their_exit_codes() {
    let node = || "n1".to_owned();
    let refusal =
        |code| RequestError::Refused { node: node(), refusal: Refusal::new(code, 0).into(), effect: Effect::None };
    let waited = Duration::from_secs(1);
    exits(RequestError::KeyInvalid { bytes: 0 }, Exit::Usage);
    exits(RequestError::ValueTooLarge { bytes: 9, limit: 8 }, Exit::Cluster);
    exits(RequestError::Busy { node: node() }, Exit::Cluster);
    exits(RequestError::NoOwner { epoch: 1 }, Exit::Cluster);
    exits(RequestError::Protocol { node: node(), reason: String::new() }, Exit::Cluster);
    exits(refusal(ErrorCode::NotReady), Exit::Cluster);
    exits(refusal(ErrorCode::WrongRole), Exit::Denied);
    exits(RequestError::Unavailable { node: node(), source: timeout().into() }, Exit::Unreachable);
    exits(RequestError::Unavailable { node: node(), source: refused().into() }, Exit::Denied);
    exits(RequestError::Timeout { node: node(), waited, effect: Effect::None }, Exit::Unreachable);
    let lost = RequestError::ConnectionLost { node: node(), reason: String::new(), effect: Effect::Unknown };
    exits(lost, Exit::Unreachable);
    exits(RequestError::Closed, Exit::Unreachable);
}

#[test]
fn nodes_that_do_not_start_have_their_exit_codes() {
    exits(StartError::Credentials(readable_by_others()), Exit::Usage);
    let date = String::new;
    let dates = StartError::CertificateDates { not_before: date(), not_after: date(), now: date() };
    exits(dates, Exit::Usage);
    let bind = |kind: io::ErrorKind| StartError::Bind { address: "127.0.0.1:1".parse().unwrap(), source: kind.into() };
    exits(bind(io::ErrorKind::AddrInUse), Exit::No);
    exits(StartError::Endpoint(io::ErrorKind::OutOfMemory.into()), Exit::No);
    exits(LoadError::NoCertificates, Exit::Usage);
}
