//! Digests, identifiers, and what else is made with cryptography.

use aws_lc_rs::rsa::{Pkcs1PrivateDecryptingKey, PrivateDecryptingKey};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

use super::encodings::unbase64;
use super::{FunctionError, Outcome, Row, argument_error, call_error, integer, text};
use crate::value::Value;
use crate::world::World;

pub(super) const TABLE: &[Row] = &[
    ("bcrypt", 1, 2, bcrypt),
    ("md5", 1, 1, |args, _| Ok(hex(&Md5::digest(text(args, 0)?)).into())),
    ("rsadecrypt", 2, 2, |args, _| rsadecrypt(args)),
    ("sha1", 1, 1, |args, _| Ok(hex(&Sha1::digest(text(args, 0)?)).into())),
    ("sha256", 1, 1, |args, _| Ok(hex(&Sha256::digest(text(args, 0)?)).into())),
    ("sha512", 1, 1, |args, _| Ok(hex(&Sha512::digest(text(args, 0)?)).into())),
    ("uuidv4", 0, 0, |_, world| Ok(uuid(world.random().to_be_bytes(), 4).into())),
    ("uuidv5", 2, 2, |args, _| uuidv5(args)),
];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn uuid(mut bytes: [u8; 16], version: u8) -> String {
    bytes[6] = (bytes[6] & 0x0f) | (version << 4);
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let text = hex(&bytes);
    format!("{}-{}-{}-{}-{}", &text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..])
}

fn uuidv5(args: &[Value]) -> Outcome {
    let name = text(args, 0)?;
    let named = |last: u8| format!("6ba7b81{last}9dad11d180b400c04fd430c8");
    let space = match name.as_str() {
        "dns" => named(0),
        "url" => named(1),
        "oid" => named(2),
        "x500" => named(4),
        other => other.replace('-', ""),
    };
    let number = u128::from_str_radix(&space, 16).ok().filter(|_| space.len() == 32);
    let Some(number) = number else {
        return argument_error(0, format!("`{name}` is neither dns, url, oid, x500 nor the text of a UUID"));
    };
    let mut hash = Sha1::new();
    hash.update(number.to_be_bytes());
    hash.update(text(args, 1)?);
    let digest = hash.finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    Ok(uuid(bytes, 5).into())
}

fn bcrypt(args: &[Value], world: &dyn World) -> Outcome {
    let cost = if args.len() > 1 { integer(args, 1)? } else { 10 };
    let cost = match u32::try_from(cost) {
        Ok(cost @ 4..=14) => cost,
        _ => return argument_error(1, "the cost is from 4 to 14"),
    };
    let password = text(args, 0)?;
    if password.len() > 72 {
        return argument_error(0, "a password has at most 72 bytes");
    }
    match bcrypt::hash_with_salt(password, cost, world.random().to_be_bytes()) {
        Ok(parts) => Ok(parts.format_for_version(bcrypt::Version::TwoA).into()),
        Err(error) => call_error(error.to_string()),
    }
}

fn rsadecrypt(args: &[Value]) -> Outcome {
    let encrypted = unbase64(&text(args, 0)?).or_else(|reason| argument_error(0, reason))?;
    let key = private_key(&text(args, 1)?)?;
    let mut buffer = vec![0; key.min_output_size()];
    match key.decrypt(&encrypted, &mut buffer) {
        Ok(plain) => Ok(String::from_utf8_lossy(plain).into_owned().into()),
        Err(_) => call_error("the text was not encrypted for this key"),
    }
}

fn private_key(text: &str) -> Result<Pkcs1PrivateDecryptingKey, FunctionError> {
    let no_key = |reason: &str| argument_error(1, format!("it is no RSA private key in PEM: {reason}"));
    let Ok(block) = pem::parse(text) else { return no_key("there is no PEM block") };
    let der = match block.tag() {
        "RSA PRIVATE KEY" if block.headers().iter().count() > 0 => return no_key("it is encrypted"),
        "RSA PRIVATE KEY" => pkcs8(block.contents()),
        "PRIVATE KEY" => block.contents().to_vec(),
        tag => return no_key(&format!("the block is `{tag}`")),
    };
    let key = PrivateDecryptingKey::from_pkcs8(&der).ok().and_then(|key| Pkcs1PrivateDecryptingKey::new(key).ok());
    key.map_or_else(|| no_key("its content is damaged, or it has less than 2048 bits"), Ok)
}

/// The envelope around the key proper: version 0, the identifier of RSA, the key.
fn pkcs8(key: &[u8]) -> Vec<u8> {
    const VERSION_AND_ALGORITHM: &[u8] =
        &[0x02, 0x01, 0x00, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
    element(0x30, &[VERSION_AND_ALGORITHM, &element(0x04, key)].concat())
}

/// A DER element.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let length: Vec<u8> = length.iter().copied().skip_while(|&byte| byte == 0).collect();
    let mut element = vec![tag];
    match (content.len(), u8::try_from(length.len())) {
        (0..0x80, _) => element.extend(if length.is_empty() { vec![0] } else { length }),
        (_, count) => {
            element.push(0x80 | count.unwrap_or(8));
            element.extend(length);
        }
    }
    element.extend(content);
    element
}
