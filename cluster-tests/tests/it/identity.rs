//! Nobody gets in: every wrong certificate is refused, the refusing side logs why, and the refused user can read it.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, anyhow};
use quoit_certs::{Identity, LeafRequest, Role, Usages};
use quoit_client::{CertificateFiles, Client, ClientConfig, ConnectError, DialError};
use tokio::time::interval;

use crate::{
    live::{Certs, LiveCluster, PATIENCE, wait_for},
    log,
};

const DAY: Duration = Duration::from_secs(86_400);

/// A client's certificate request, as it should be.
fn client_request() -> LeafRequest {
    let now = SystemTime::now();
    LeafRequest {
        dns_names: vec!["c.client.test.quoit.internal".into(), "client.test.quoit.internal".into()],
        ips: Vec::new(),
        not_before: now - DAY,
        not_after: now + DAY,
        usages: Usages::Client,
    }
}

/// Writes what `request` asks for, signed by `signer`, to a folder that trusts the authority of `trusted`.
fn write_folder(signer: &Certs, trusted: &Certs, folder: &str, request: &LeafRequest) -> Result<CertificateFiles> {
    let pair = signer.authority().sign(request)?;
    let folder = trusted.folder(folder);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("ca.crt"), trusted.authority().pem())?;
    fs::write(folder.join("tls.crt"), pair.certificate)?;
    write_key(&folder.join("tls.key"), &pair.key)?;
    Ok(CertificateFiles::in_folder(folder))
}

fn write_key(path: &Path, key: &str) -> Result<()> {
    fs::write(path, key)?;
    Ok(fs::set_permissions(path, Permissions::from_mode(0o600))?)
}

async fn connect(files: CertificateFiles, cluster: &LiveCluster) -> Result<Client, ConnectError> {
    let config = ClientConfig::new(files, &cluster.seeds).unwrap().connect_timeout(PATIENCE);
    Client::connect(config).await
}

/// Connects with a certificate made of a spoilt `request` and checks what both sides say.
async fn check_refused(
    name: &str,
    spoil: impl FnOnce(&mut LeafRequest),
    user_reads: &str,
    log_says: &str,
) -> Result<()> {
    log::keep();
    let cluster = LiveCluster::start(1).await?;
    let mut request = client_request();
    spoil(&mut request);
    let files = write_folder(&cluster.certs, &cluster.certs, name, &request)?;
    let error = connect(files, &cluster).await.err().ok_or_else(|| anyhow!("{name} was let in"))?;
    let ConnectError::Unreachable { attempts } = &error else {
        return Err(anyhow!("{error:?}"));
    };
    let (_, dial) = &attempts[0];
    assert!(dial.to_string().contains(user_reads), "the user reads: {dial}");
    assert!(dial.is_about_identity(), "{dial:?}");
    assert!(!dial.advice().is_empty());
    logged(&["refused", log_says]).await?;
    assert_eq!(cluster.nodes[0].limits_hit().handshakes_refused, 1);
    cluster.stop().await;
    Ok(())
}

/// Waits until a line with all of `marks` is logged.
async fn logged(marks: &[&str]) -> Result<()> {
    let waited = wait_for("a log line", || !log::lines(marks).is_empty()).await;
    waited.with_context(|| format!("{marks:?} among {:#?}", log::lines(&["refused"])))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_certificate_is_refused() -> Result<()> {
    let spoil = |request: &mut LeafRequest| request.not_after = SystemTime::now() - Duration::from_secs(60);
    check_refused("expired", spoil, "it has expired", "cause=\"expired\"").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_tomorrow_is_refused() -> Result<()> {
    let spoil = |request: &mut LeafRequest| request.not_before = SystemTime::now() + DAY / 2;
    check_refused("early", spoil, "not valid yet", "cause=\"not yet valid\"").await
}

#[test]
fn two_identities_in_one_certificate_are_refused() -> Result<()> {
    let spoil = |request: &mut LeafRequest| {
        request.dns_names.push("d.client.test.quoit.internal".into());
    };
    let refused = check_refused_at_home("two", spoil)?;
    assert!(refused.contains("two identities"), "{refused}");
    Ok(())
}

/// A certificate that the client itself will not use.
fn check_refused_at_home(name: &str, spoil: impl FnOnce(&mut LeafRequest)) -> Result<String> {
    let certs = Certs::new("test")?;
    let mut request = client_request();
    spoil(&mut request);
    let files = write_folder(&certs, &certs, name, &request)?;
    let error = files.load().err().ok_or_else(|| anyhow!("{name} was accepted"))?;
    let source = std::error::Error::source(&error).map(ToString::to_string);
    Ok(format!("{error}: {}", source.unwrap_or_default()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_certificate_of_a_server_cannot_dial() -> Result<()> {
    let spoil = |request: &mut LeafRequest| request.usages = Usages::Server;
    check_refused("usage", spoil, "not meant for this use", "cause=\"wrong usage\"").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_of_another_cluster_is_refused() -> Result<()> {
    log::keep();
    let cluster = LiveCluster::start(1).await?;
    let mut request = client_request();
    request.dns_names = vec!["c.client.other.quoit.internal".into(), "client.other.quoit.internal".into()];
    let files = write_folder(&cluster.certs, &cluster.certs, "stranger", &request)?;
    // It dials for a node of its own cluster, so it is the client that refuses.
    let error = connect(files, &cluster).await.err().ok_or_else(|| anyhow!("let in"))?;
    let ConnectError::Unreachable { attempts } = &error else {
        return Err(anyhow!("{error:?}"));
    };
    assert!(matches!(attempts[0].1, DialError::NodeRefused { .. }), "{:?}", attempts[0].1);
    assert!(attempts[0].1.advice().contains("another cluster"), "{}", attempts[0].1.advice());
    cluster.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_another_authority_is_refused() -> Result<()> {
    log::keep();
    let cluster = LiveCluster::start(1).await?;
    let stranger = Certs::new("test")?;
    let files = write_folder(&stranger, &cluster.certs, "forged", &client_request())?;
    let error = connect(files, &cluster).await.err().ok_or_else(|| anyhow!("let in"))?;
    let ConnectError::Unreachable { attempts } = &error else {
        return Err(anyhow!("{error:?}"));
    };
    assert!(matches!(&attempts[0].1, DialError::CertificateRefused { reason, .. } if reason.contains("authority")));
    logged(&["refused", "cause=\"unknown authority\""]).await?;
    cluster.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_certificate_is_no_node() -> Result<()> {
    let certs = Certs::new("test")?;
    let files = certs.files(Role::Client, "client")?;
    let mut settings = quoit_node::config::Settings::new(files);
    settings.listen = "127.0.0.1:0".parse()?;
    settings.seeds = vec!["127.0.0.1:1".parse()?];
    let error = quoit_node::NodeHandle::start(settings.try_into()?).await.unwrap_err();
    assert!(error.to_string().contains("not of a node"), "{error}");
    assert!(error.advice().contains("make-certs list"), "{}", error.advice());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_other_than_the_one_dialled_is_refused() -> Result<()> {
    log::keep();
    let mut cluster = LiveCluster::start(2).await?;
    let client = cluster.client().await?;
    let keys: Vec<String> = (0..100).map(|i| format!("key:{i}")).collect();
    let of_second: Vec<_> = keys.iter().filter(|key| client.explain(key).unwrap().owners[0] == "n2").collect();
    // Another node takes the place of n2, with a good certificate of its own name.
    cluster.nodes.remove(1).shutdown().await;
    let files = cluster.certs.files(Role::Node, "n3")?;
    let mut settings = quoit_node::config::Settings::new(files);
    settings.listen = cluster.seeds[1].parse()?;
    settings.seeds = vec![cluster.seeds[1].parse()?];
    let mut tick = interval(Duration::from_millis(10));
    // The socket goes with the last task of the node before.
    let network = tokio::time::timeout(PATIENCE, async {
        loop {
            match quoit_node::Network::udp(cluster.seeds[1].parse()?) {
                Ok(network) => break anyhow::Ok(network),
                Err(_) => tick.tick().await,
            };
        }
    });
    let impostor = quoit_node::NodeHandle::start_on(settings.try_into()?, network.await??).await?;
    let refusal = loop {
        tick.tick().await;
        // The other owner answers.
        client.get(of_second[0]).await?;
        if let Some((_, error @ DialError::NodeRefused { .. })) = client.unreachable().into_iter().next() {
            break error;
        }
    };
    assert!(refusal.to_string().contains("n2.node.test.quoit.internal"), "{refusal}");
    assert_eq!(impostor.stats().sets + impostor.stats().misses, 0);
    impostor.shutdown().await;
    cluster.stop().await;
    Ok(())
}

#[test]
fn a_key_that_others_can_read_is_not_used() -> Result<()> {
    let certs = Certs::new("test")?;
    let files = certs.files(Role::Node, "n1")?;
    fs::set_permissions(&files.key, Permissions::from_mode(0o644))?;
    let error = files.load().unwrap_err();
    assert!(error.to_string().contains("can be read by others"), "{error}");
    assert_eq!(error.advice(), format!("chmod 600 {}", files.key.display()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_outside_the_certificates_dates_stops_the_start() -> Result<()> {
    let certs = Certs::new("test")?;
    let identity = Identity::new(Role::Node, "n1".parse()?, "test".parse()?);
    let now = SystemTime::now();
    let request = LeafRequest::new(&identity, &[], now + DAY, now + 2 * DAY);
    let files = write_folder(&certs, &certs, "n1", &request)?;
    let mut settings = quoit_node::config::Settings::new(files);
    settings.listen = "127.0.0.1:0".parse()?;
    settings.seeds = vec!["127.0.0.1:1".parse()?];
    let error = quoit_node::NodeHandle::start(settings.try_into()?).await.unwrap_err();
    assert!(matches!(error, quoit_node::StartError::CertificateDates { .. }), "{error}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renewed_certificates_and_a_new_authority_are_used_without_dropping_anybody() -> Result<()> {
    log::keep();
    let cluster = LiveCluster::start(1).await?;
    let old = cluster.client().await?;
    old.set("k", "v").await?;
    // The node moves to another authority and trusts both.
    let next = Certs::new("test")?;
    let identity = Identity::new(Role::Node, "n1".parse()?, "test".parse()?);
    let issued = next.authority().issue(&identity, &[], None, SystemTime::now())?;
    let folder = cluster.certs.folder("n1");
    let both = format!("{}{}", cluster.certs.authority().pem(), next.authority().pem());
    fs::write(folder.join("ca.crt"), both)?;
    fs::write(folder.join("tls.crt"), &issued.pair.certificate)?;
    write_key(&folder.join("tls.key"), &issued.pair.key)?;
    cluster.nodes[0].reload();
    let files = next.files(Role::Client, "newcomer")?;
    let new = connect(files, &cluster).await?;
    assert_eq!(new.get("k").await?.as_deref(), Some(&b"v"[..]));
    assert_eq!(old.get("k").await?.as_deref(), Some(&b"v"[..]), "established connections stay");
    cluster.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_reload_keeps_what_was_loaded() -> Result<()> {
    log::keep();
    let cluster = LiveCluster::start(1).await?;
    fs::write(cluster.certs.folder("n1").join("tls.crt"), "not a certificate")?;
    cluster.nodes[0].reload();
    logged(&["cert_reload_failed", "make-certs check"]).await?;
    let client = cluster.client().await?;
    client.set("k", "v").await?;
    cluster.stop().await;
    Ok(())
}

/// Gives the node another certificate while it runs, and checks that it keeps the one it has.
async fn check_not_reloaded(signer: Option<Certs>, dates: (SystemTime, SystemTime), log_says: &str) -> Result<()> {
    log::keep();
    let cluster = LiveCluster::start(1).await?;
    let identity = Identity::new(Role::Node, "n1".parse()?, "test".parse()?);
    let request = LeafRequest::new(&identity, &[], dates.0, dates.1);
    write_folder(signer.as_ref().unwrap_or(&cluster.certs), &cluster.certs, "n1", &request)?;
    cluster.nodes[0].reload();
    logged(&["cert_reload_failed", log_says]).await?;
    // A client checks the dates and the authority of whom it dials.
    let client = cluster.client().await?;
    client.set("k", "v").await?;
    cluster.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_certificate_is_not_reloaded() -> Result<()> {
    let now = SystemTime::now();
    check_not_reloaded(None, (now - 2 * DAY, now - DAY), "the certificate is valid from").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_the_own_authority_did_not_sign_is_not_reloaded() -> Result<()> {
    let now = SystemTime::now();
    check_not_reloaded(Some(Certs::new("test")?), (now - DAY, now + DAY), "does not stand up to it").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_that_fails_is_complained_of_once() -> Result<()> {
    log::keep();
    let cluster = LiveCluster::start(1).await?;
    let key = cluster.certs.folder("n1").join("tls.key");
    fs::remove_file(&key)?;
    for _ in 0..3 {
        cluster.nodes[0].reload();
    }
    let path = key.display().to_string();
    assert_eq!(log::lines(&["cert_reload_failed", &path]).len(), 1);
    cluster.stop().await;
    Ok(())
}
