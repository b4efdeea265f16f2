use std::{
    future::pending,
    sync::atomic::{AtomicU16, Ordering},
};

use super::*;

/// Longer than anything takes that works at all.
const PATIENCE: Duration = Duration::from_secs(30);

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

fn socket(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

fn failed(address: SocketAddr) -> DialError {
    DialError::Failed { address, reason: String::new() }
}

/// Knows one name, which leads to `ports`.
fn resolver(ports: &'static [u16]) -> Resolver {
    Resolver::new(async |name: Address| {
        assert_eq!(name.as_str(), "cache.test:7750");
        Ok(ports.iter().copied().map(socket).collect())
    })
}

/// The port at which the name is reached, if nobody answers at port 1, everybody is refused at port 2, and all is well at
/// the others.
async fn reached(resolver: &Resolver, name: &str) -> Result<u16, DialError> {
    let dial = |address: SocketAddr| async move {
        match address.port() {
            1 => pending().await,
            2 => Err(failed(address)),
            port => Ok(port),
        }
    };
    let name = address(name);
    let dialling = resolver.dial_any(&name, PATIENCE, dial);
    timeout(PATIENCE, dialling).await.expect("a dead address holds nobody up")
}

#[tokio::test]
async fn every_address_of_a_name_is_tried() {
    for ports in [&[3, 1][..], &[1, 3], &[2, 3], &[1, 2, 1, 3]] {
        assert_eq!(reached(&resolver(ports), "cache.test:7750").await.unwrap(), 3, "{ports:?}");
    }
}

#[tokio::test]
async fn the_first_address_that_answers_is_taken() {
    assert_eq!(reached(&resolver(&[4, 3]), "cache.test:7750").await.unwrap(), 4);
}

#[tokio::test]
async fn who_is_refused_everywhere_is_told_so() {
    let error = reached(&resolver(&[2, 2]), "cache.test:7750").await.unwrap_err();
    assert!(matches!(error, DialError::Failed { address, .. } if address == socket(2)), "{error}");
    let error = reached(&resolver(&[]), "cache.test:7750").await.unwrap_err();
    assert!(matches!(error, DialError::Resolve { .. }), "{error}");
}

#[tokio::test]
async fn a_name_is_resolved_anew_at_each_attempt() {
    let asked = AtomicU16::new(3);
    let moving = Resolver::new(move |_| {
        let port = asked.fetch_add(1, Ordering::Relaxed);
        async move { Ok(vec![socket(port)]) }
    });
    for port in [3, 4, 5] {
        assert_eq!(reached(&moving, "cache.test:7750").await.unwrap(), port);
    }
}

#[tokio::test]
async fn an_ip_address_needs_no_lookup() {
    let nothing = Resolver::new(async |name: Address| panic!("{name} was looked up"));
    assert_eq!(reached(&nothing, "127.0.0.1:7750").await.unwrap(), 7750);
    assert_eq!(reached(&nothing, "[::1]:7750").await.unwrap(), 7750);
}

#[tokio::test]
async fn a_resolver_that_does_not_answer_is_given_up() {
    let silent = Resolver::new(async |_: Address| pending().await);
    let error = silent.resolve(&address("cache.test:7750"), Duration::from_millis(10)).await.unwrap_err();
    assert!(error.to_string().contains("does not answer"), "{error}");
}

#[tokio::test]
async fn the_system_is_asked_unless_another_resolver_is_given() {
    let found = Resolver::default().resolve(&address("localhost:7750"), PATIENCE).await.unwrap();
    assert!(found.iter().all(|found| found.ip().is_loopback() && found.port() == 7750), "{found:?}");
}
