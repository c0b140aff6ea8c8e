//! Keys and certificates: always fresh ones.

use std::any::Any;
use std::net::IpAddr;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::RsaKeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_gotmpl::{Failure, Functions, Object, Value};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, SerialNumber,
};
use rustls_pki_types::PrivatePkcs8KeyDer;

use super::arguments::{entries, exact, int, text};

/// What `genCA` and its like give: texts in PEM.
struct Pair {
    certificate: String,
    key: String,
}

impl Object for Pair {
    fn field(&self, name: &str) -> Option<Value> {
        match name {
            "Cert" => Some(self.certificate.as_str().into()),
            "Key" => Some(self.key.as_str().into()),
            _ => None,
        }
    }

    fn print(&self) -> String {
        format!("{{{} {}}}", self.certificate, self.key)
    }

    fn type_name(&self) -> &'static str {
        "sprig.certificate"
    }

    fn content(&self) -> Option<Value> {
        Some(Value::dict(["Cert", "Key"].into_iter().filter_map(|name| Some((name.to_owned(), self.field(name)?)))))
    }

    fn any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

pub(crate) fn add(functions: &mut Functions<'_>, now: i64) {
    functions.add("genPrivateKey", |arguments| exact(arguments).and_then(|[kind]| private_key(text(kind)?).map(Value::from)));
    functions.add("buildCustomCert", |arguments| {
        let [certificate, key] = exact(arguments)?;
        let decoded = |value: &Value, what: &str| {
            let bytes = STANDARD.decode(text(value)?).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            bytes.ok_or_else(|| Failure::new(format!("unable to decode base64 {what}")))
        };
        let (certificate, key) = (decoded(certificate, "certificate")?, decoded(key, "private key")?);
        if block(&certificate, "CERTIFICATE").is_none() {
            return Err("unable to decode certificate".into());
        }
        signer(&key)?;
        Ok(Value::object(Pair { certificate, key }))
    });
    functions.add("genCA", move |a| {
        let [name, days] = exact(a)?;
        authority(text(name)?, int(days)?, now, new_key()?)
    });
    functions.add("genCAWithKey", move |a| {
        let [name, days, key] = exact(a)?;
        authority(text(name)?, int(days)?, now, signer(text(key)?)?)
    });
    functions.add("genSelfSignedCert", move |a| {
        let [name, ips, names, days] = exact(a)?;
        self_signed(&leaf(text(name)?, ips, names, int(days)?, now)?, new_key()?)
    });
    functions.add("genSelfSignedCertWithKey", move |a| {
        let [name, ips, names, days, key] = exact(a)?;
        self_signed(&leaf(text(name)?, ips, names, int(days)?, now)?, signer(text(key)?)?)
    });
    functions.add("genSignedCert", move |a| {
        let [name, ips, names, days, ca] = exact(a)?;
        signed(leaf(text(name)?, ips, names, int(days)?, now)?, ca, new_key()?)
    });
    functions.add("genSignedCertWithKey", move |a| {
        let [name, ips, names, days, ca, key] = exact(a)?;
        signed(leaf(text(name)?, ips, names, int(days)?, now)?, ca, signer(text(key)?)?)
    });
}

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::new(format!("error creating certificate: {error}"))
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// The bytes of the first block with this label.
fn block(text: &str, label: &str) -> Option<Vec<u8>> {
    let (_, rest) = text.split_once(&format!("-----BEGIN {label}-----"))?;
    let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
    STANDARD.decode(body.split_whitespace().collect::<String>()).ok()
}

/// A key, with its text in the form that Go writes.
struct Key {
    pair: KeyPair,
    pem: String,
}

/// RSA, 2048 bits, as Sprig has it.
fn new_key() -> Result<Key, Failure> {
    let der = rsa(KeySize::Rsa2048)?;
    signer(&pem("RSA PRIVATE KEY", pkcs1(&der).ok_or_else(|| failed("no key"))?))
}

fn rsa(size: KeySize) -> Result<Vec<u8>, Failure> {
    let key = RsaKeyPair::generate(size).map_err(failed)?;
    let der: Pkcs8V1Der<'_> = key.as_der().map_err(failed)?;
    Ok(der.as_ref().to_vec())
}

/// The element of DER at the start of `der`: its content, and what is behind.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if bytes.len() > 4 {
            return None;
        }
        (bytes.iter().fold(0_usize, |length, &byte| length << 8 | usize::from(byte)), rest)
    };
    (found == tag).then(|| rest.split_at_checked(length)).flatten()
}

/// The key inside of PKCS #8.
fn pkcs1(der: &[u8]) -> Option<&[u8]> {
    let (sequence, _) = element(der, 0x30)?;
    let (_, rest) = element(sequence, 0x02)?;
    let (_, rest) = element(rest, 0x30)?;
    element(rest, 0x04).map(|(key, _)| key)
}

fn wrapped(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut out = vec![tag];
    if length < 0x80 {
        out.extend(u8::try_from(length));
    } else {
        let bytes: Vec<u8> = length.to_be_bytes().into_iter().skip_while(|&byte| byte == 0).collect();
        out.extend(u8::try_from(bytes.len()).map(|count| 0x80 | count));
        out.extend(bytes);
    }
    out.extend(content);
    out
}

/// rsaEncryption, with no parameters.
const RSA: [u8; 15] = [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
/// ecPublicKey on P-256.
const P256: [u8; 21] = [
    0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03,
    0x01, 0x07,
];

/// A key from its text: PKCS #1, SEC 1 on P-256, or PKCS #8.
fn signer(text: &str) -> Result<Key, Failure> {
    let inside = |algorithm: &[u8], key: Vec<u8>| wrapped(0x30, &[&[2, 1, 0], algorithm, &wrapped(0x04, &key)].concat());
    let der = block(text, "PRIVATE KEY")
        .or_else(|| block(text, "RSA PRIVATE KEY").map(|key| inside(&RSA, key)))
        .or_else(|| block(text, "EC PRIVATE KEY").map(|key| inside(&P256, key)))
        .ok_or_else(|| failed("no private key in PEM: PRIVATE KEY, RSA PRIVATE KEY or EC PRIVATE KEY"))?;
    let pair = KeyPair::try_from(&PrivatePkcs8KeyDer::from(der)).map_err(failed)?;
    Ok(Key { pair, pem: text.to_owned() })
}

fn private_key(kind: &str) -> Result<String, Failure> {
    Ok(match kind {
        "rsa" => pem("RSA PRIVATE KEY", pkcs1(&rsa(KeySize::Rsa4096)?).ok_or_else(|| failed("no key"))?),
        "ecdsa" => {
            let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(failed)?;
            pem("EC PRIVATE KEY", pkcs1(key.serialized_der()).ok_or_else(|| failed("no key"))?)
        }
        "ed25519" => {
            let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).map_err(failed)?;
            pem("PRIVATE KEY", key.serialized_der())
        }
        "dsa" => return Err("keys of DSA are not made here: take rsa, ecdsa or ed25519".into()),
        other => return Ok(format!("Unknown type {other}")),
    })
}

fn base(name: &str, days: i64, now: i64) -> Result<CertificateParams, Failure> {
    let mut params = CertificateParams::new(Vec::new()).map_err(failed)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let mut serial = [0; 16];
    aws_lc_rs::rand::fill(&mut serial).map_err(failed)?;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    let start = rcgen::date_time_ymd(1970, 1, 1);
    let at = |seconds: i64| {
        let days = std::time::Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        start.checked_add(days.try_into().map_err(failed)?).ok_or_else(|| failed("the time is out of range"))
    };
    params.not_before = at(now)?;
    params.not_after = at(now.saturating_add(days.saturating_mul(86_400)))?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

fn leaf(name: &str, ips: &Value, names: &Value, days: i64, now: i64) -> Result<CertificateParams, Failure> {
    let texts = |value: &Value, what: &str| match value {
        Value::Nil => Ok(Vec::new()),
        value => {
            let items = entries(value).ok_or_else(|| Failure::new(format!("error parsing {what}: a list is wanted")))?;
            items.iter().map(|item| text(item).map(str::to_owned)).collect::<Result<Vec<_>, Failure>>()
        }
    };
    let mut params = base(name, days, now)?;
    for ip in texts(ips, "IPs")? {
        let ip: IpAddr = ip.parse().map_err(|_| Failure::new(format!("error parsing ip: {ip}")))?;
        params.subject_alt_names.push(SanType::IpAddress(ip));
    }
    for name in texts(names, "DNS names")? {
        params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into().map_err(failed)?));
    }
    params.is_ca = IsCa::ExplicitNoCa;
    Ok(params)
}

fn pair(certificate: &Certificate, key: &Key) -> Value {
    Value::object(Pair { certificate: pem("CERTIFICATE", certificate.der()), key: key.pem.clone() })
}

fn authority(name: &str, days: i64, now: i64, key: Key) -> Result<Value, Failure> {
    let mut params = base(name, days, now)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages.push(KeyUsagePurpose::KeyCertSign);
    self_signed(&params, key)
}

fn self_signed(params: &CertificateParams, key: Key) -> Result<Value, Failure> {
    let certificate = params.self_signed(&key.pair).map_err(failed)?;
    Ok(pair(&certificate, &key))
}

fn signed(params: CertificateParams, ca: &Value, key: Key) -> Result<Value, Failure> {
    let Value::Object(object) = ca else { return Err("wants a certificate, as `genCA` makes one".into()) };
    let ca: &Pair = object.any().and_then(|any| any.downcast_ref()).ok_or("wants a certificate, as `genCA` makes one")?;
    let issuer = Issuer::from_ca_cert_pem(&ca.certificate, signer(&ca.key)?.pair).map_err(failed)?;
    let certificate = params.signed_by(&key.pair, &issuer).map_err(failed)?;
    Ok(pair(&certificate, &key))
}
