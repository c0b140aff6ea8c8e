//! `kubeadm join`: further masters one after the other, then all workers at once.
//!
//! The token is made for this run, and lives for two hours; it goes into a file of root's on each host, never into a line.

use std::time::Duration;

use base64::Engine as _;
use kiln_host::Stdin;
use kiln_oci::Digest;

use super::{Order, Phase, Work};
use crate::config::{configuration, join_yaml, upload_yaml};
use crate::error::{LaunchError, Result};
pub use crate::kubectl::KUBECTL;
use crate::launch::{Join, Launch, Member, key, random_hex};
use crate::{diagnose, wait};

/// Further masters.
pub const MASTERS: Phase = Phase {
    name: "join-masters",
    title: "further control planes",
    order: Order::Serial,
    plan: plan_master,
    run,
    undo: None,
};

/// All others.
pub const WORKERS: Phase =
    Phase { name: "join-workers", title: "workers", order: Order::Together, plan: plan_worker, run, undo: Some(undo) };

const CONFIG: &str = "/etc/kubernetes/kiln-join.yaml";
const UPLOAD: &str = "/etc/kubernetes/kiln-upload.yaml";
const LIMIT: Duration = Duration::from_secs(900);
/// How long an API server may take to answer once its host has joined.
const HEALTHY: Duration = Duration::from_secs(180);

fn plan_master(_launch: &Launch, member: &Member) -> Result<Option<Work>> {
    let lines = vec![format!("kubeadm join as a master: node {}, advertise {}", member.node, member.address)];
    Ok((member.is_master() && !member.first).then(|| Work { key: key(["join"]), lines, holds: true }))
}

fn plan_worker(launch: &Launch, member: &Member) -> Result<Option<Work>> {
    let is_worker = launch.cluster.workers().any(|host| host.address() == member.host.address());
    let lines = vec![format!("kubeadm join: node {}, address {}", member.node, member.address)];
    Ok(is_worker.then(|| Work { key: key(["join"]), lines, holds: true }))
}

fn run(launch: &Launch, member: &Member) -> Result<()> {
    super::init::clear_earlier(launch, member)?;
    if member.is_master() {
        super::init::files_are_there(member, configuration(launch)?.as_ref())?;
    }
    let join = join_data(launch, member.is_master())?;
    match kubeadm_join(launch, member, &join) {
        // What others had there before is not reset for it.
        Err(LaunchError::Command { tail, .. })
            if has_expired(&tail) && launch.marker(member).is_some_and(|marker| !marker.occupied) =>
        {
            launch.note(member, "the token or the key of certificates has expired: new ones are made");
            forget(launch, &join);
            super::init::kubeadm_reset(launch, member)?;
            super::runtime::log_in(launch, member)?;
            let join = join_data(launch, member.is_master())?;
            kubeadm_join(launch, member, &join)?;
        }
        other => other?,
    }
    if member.is_master() {
        super::runtime::own_endpoint(launch, member)?;
        super::init::kubeconfig(member)?;
        launch.clock.wait(|| healthy(launch, member))?;
    }
    Ok(())
}

fn kubeadm_join(launch: &Launch, member: &Member, join: &Join) -> Result<()> {
    let machine = &member.machine;
    machine.write(CONFIG, 0o600, join_yaml(launch, member, join)?)?;
    let line = format!("kubeadm join --config {CONFIG}{}", super::init::ignored(launch));
    let joined = launch.clock.wait(|| machine.succeed_with("join the cluster", &line, Stdin::Empty, LIMIT));
    // The token is in it; a failure to remove it must not hide one to join.
    let removed = machine.succeed("remove the token", &format!("rm -f {CONFIG}"));
    if let Err(error) = joined {
        return Err(error.because(diagnose::ask(launch, machine)));
    }
    removed.map(drop)
}

/// Whether kubeadm says that the token, or the certificates that masters share, are no longer there: the first live for two
/// hours, the second too, and a launch of many hosts over slow links may take longer.
fn has_expired(tail: &[String]) -> bool {
    let signs = [
        "JWS signature",
        "Unauthorized",
        "secrets \"kubeadm-certs\" not found",
        "Secret \"kubeadm-certs\" was not found",
        "error downloading the secret",
    ];
    tail.iter().any(|line| signs.iter().any(|sign| line.contains(sign)))
}

/// Makes sure that no other host gets what has expired.
fn forget(launch: &Launch, join: &Join) {
    let mut learned = launch.learned();
    if learned.join.as_ref().is_some_and(|known| known.token == join.token) {
        learned.join = None;
        learned.uploaded = false;
    }
}

/// Waits until the API server of a master answers: etcd takes the next member only when this one is well.
///
/// # Errors
/// When it does not in time.
pub fn healthy(launch: &Launch, member: &Member) -> Result<()> {
    let patience = HEALTHY.min(launch.options.patience);
    let lacking = wait::until(launch, patience, Duration::from_secs(2), || {
        let line = format!("{KUBECTL} get --raw /healthz");
        let said = member.machine.run("ask the API server whether it is well", &line, Stdin::Empty, HEALTHY)?;
        Ok((!said.exit.success()).then_some(said.tail))
    })?;
    match lacking {
        None => Ok(()),
        Some(tail) => Err(LaunchError::TimedOut {
            host: member.name().to_owned(),
            what: "have its API server answer".to_owned(),
            after: patience,
            tail,
            causes: diagnose::ask(launch, &member.machine),
        }),
    }
}

/// What joining hosts need, made once in a run.
///
/// # Errors
/// When the first master does not make a token, or its authority cannot be read.
pub fn join_data(launch: &Launch, master: bool) -> Result<Join> {
    // Held while it is made: workers come all at once, and one token is enough.
    let mut learned = launch.learned();
    let first = launch.first()?;
    let join = match learned.join.clone() {
        Some(join) => join,
        None => {
            let line = "kubeadm token create --kubeconfig /etc/kubernetes/admin.conf --ttl 2h --description kiln";
            let text = first.machine.succeed("make a token to join with", line)?.text();
            let token = text.lines().map(str::trim).find(|line| is_token(line));
            let token = token.ok_or_else(|| first.machine.nonsense("make a token", "there is none in it"))?.to_owned();
            let pem = first.machine.succeed("read the cluster's authority", "cat /etc/kubernetes/pki/ca.crt")?.text();
            let ca_hash = ca_hash(&pem)
                .ok_or_else(|| first.machine.nonsense("what is the cluster's authority", "it is no certificate"))?;
            let join = Join { token, ca_hash, certificate_key: random_hex(32)? };
            learned.join = Some(join.clone());
            join
        }
    };
    if master && !learned.uploaded {
        first.machine.write(UPLOAD, 0o600, upload_yaml(launch, &join)?)?;
        let line =
            format!("kubeadm init phase upload-certs --upload-certs --skip-certificate-key-print --config {UPLOAD}");
        let uploaded = first.machine.succeed_with("hand out the masters' certificates", &line, Stdin::Empty, LIMIT);
        first.machine.succeed("remove their key", &format!("rm -f {UPLOAD}"))?;
        uploaded?;
        learned.uploaded = true;
    }
    Ok(join)
}

/// `abcdef.0123456789abcdef`
fn is_token(text: &str) -> bool {
    let good =
        |part: &str, length| part.len() == length && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    text.split_once('.').is_some_and(|(id, secret)| good(id, 6) && good(secret, 16))
}

/// `sha256:` of the public key of a certificate, as kubeadm has it: of its DER, with the algorithm.
pub fn ca_hash(pem: &str) -> Option<String> {
    let body = pem.split_once("-----BEGIN CERTIFICATE-----")?.1.split_once("-----END CERTIFICATE-----")?.0;
    let text: String = body.split_whitespace().collect();
    let der = base64::engine::general_purpose::STANDARD.decode(text).ok()?;
    // Certificate { tbs { [0] version?, serial, algorithm, issuer, validity, subject, key, … }, … }
    let (_, certificate, _) = element(&der)?;
    let (_, mut rest, _) = element(certificate)?;
    if rest.first() == Some(&0xa0) {
        rest = element(rest)?.2;
    }
    for _ in 0..5 {
        rest = element(rest)?.2;
    }
    let (whole, ..) = element(rest)?;
    (whole.first() == Some(&0x30)).then(|| Digest::of(whole).to_string())
}

/// The first element of DER: all of it, its contents, and what is behind it.
fn element(der: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let first = usize::from(*der.get(1)?);
    let (length, head) = match first {
        0..=0x7f => (first, 2),
        0x81..=0x84 => {
            let count = first - 0x80;
            let bytes = der.get(2..2 + count)?;
            (bytes.iter().fold(0_usize, |length, byte| length << 8 | usize::from(*byte)), 2 + count)
        }
        _ => return None,
    };
    let end = head.checked_add(length)?;
    Some((der.get(..end)?, der.get(head..end)?, der.get(end..)?))
}

/// Undoes what kubeadm made, also on masters: a node that goes is told to leave etcd by kubeadm itself.
fn undo(launch: &Launch, member: &Member) -> Result<Vec<String>> {
    let there = member.machine.run("look for kubeadm", "command -v kubeadm >/dev/null", Stdin::Empty, LIMIT)?;
    if !there.exit.success() {
        return Ok(Vec::new());
    }
    if super::runtime::was_occupied(member) {
        return Ok(vec![
            "something of Kubernetes was there before Kiln came, and is left: kubeadm reset is yours to do".to_owned(),
        ]);
    }
    // Without it kubeadm cannot stop pods.
    let runtime = launch.runtime();
    member.machine.run(
        &format!("start {runtime}"),
        &launch.service(&format!("start {runtime}")),
        Stdin::Empty,
        LIMIT,
    )?;
    super::init::kubeadm_reset(launch, member)?;
    Ok(Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by openssl: an authority of P-256, in its shortest form.
    const PEM: &str = include_str!("../../tests/it/ca.crt");

    #[test]
    fn tokens_and_hashes() {
        assert!(is_token("abcdef.0123456789abcdef") && !is_token("abcdef.0123456789abcdeF") && !is_token("x"));
        // openssl x509 -pubkey -noout | openssl pkey -pubin -outform der | sha256sum
        assert_eq!(ca_hash(PEM).as_deref(), Some(include_str!("../../tests/it/ca.sha256").trim()));
        for bad in [
            "",
            "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----",
            "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
            "-----BEGIN CERTIFICATE-----\nMIT/////\n-----END CERTIFICATE-----",
        ] {
            assert_eq!(ca_hash(bad), None, "{bad}");
        }
    }
}
