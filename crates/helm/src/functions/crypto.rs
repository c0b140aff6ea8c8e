//! Sums, passwords, AES.

use aws_lc_rs::cipher::{AES_256, DecryptionContext, PaddedBlockDecryptingKey, PaddedBlockEncryptingKey, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_gotmpl::{Failure, Value};
use md5::Digest;

use super::Table;
use super::arguments::{exact, int, text};
use super::encoding::bytes;
use crate::objects::text_or_bytes;

pub(crate) const TABLE: Table = &[
    ("sha1sum", |a| Ok(hex(&sha1::Sha1::digest(bytes(a)?)).into())),
    ("sha256sum", |a| Ok(hex(&sha2::Sha256::digest(bytes(a)?)).into())),
    ("sha512sum", |a| Ok(hex(&sha2::Sha512::digest(bytes(a)?)).into())),
    ("adler32sum", |a| Ok(adler32(&bytes(a)?).to_string().into())),
    ("bcrypt", |a| exact(a).and_then(|[password]| Ok(bcrypted(text(password)?)?.into()))),
    ("htpasswd", htpasswd),
    ("derivePassword", derive),
    ("encryptAES", |a| {
        let [password, plain] = exact(a)?;
        encrypt(text(password)?, text(plain)?)
    }),
    ("decryptAES", |a| {
        let [password, sealed] = exact(a)?;
        decrypt(text(password)?, text(sealed)?)
    }),
];

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn adler32(bytes: &[u8]) -> u32 {
    let (a, b) = bytes.iter().fold((1_u32, 0_u32), |(a, b), &byte| {
        let a = (a + u32::from(byte)) % 65_521;
        (a, (b + a) % 65_521)
    });
    b << 16 | a
}

/// The cost that Go's library takes by default.
const COST: u32 = 10;

fn bcrypted(password: &str) -> Result<String, Failure> {
    let failed = |what: &str| Failure::new(format!("failed to encrypt string with bcrypt: {what}"));
    if password.len() > 72 {
        return Err(failed("password length exceeds 72 bytes"));
    }
    let mut salt = [0; 16];
    aws_lc_rs::rand::fill(&mut salt).map_err(|_| failed("the system has no random numbers"))?;
    let parts = bcrypt::hash_with_salt(password, COST, salt).map_err(|error| failed(&error.to_string()))?;
    Ok(parts.format_for_version(bcrypt::Version::TwoA))
}

fn htpasswd(arguments: &[Value]) -> Result<Value, Failure> {
    let [user, password] = exact(arguments)?;
    let user = text(user)?;
    if user.contains(':') {
        return Ok(format!("invalid username: {user}").into());
    }
    Ok(format!("{user}:{}", bcrypted(text(password)?)?).into())
}

/// Patterns of passwords by their kinds: each letter is a set of characters.
const PATTERNS: &[(&str, &[&str])] = &[
    ("maximum", &["anoxxxxxxxxxxxxxxxxx", "axxxxxxxxxxxxxxxxxno"]),
    (
        "long",
        &[
            "CvcvnoCvcvCvcv", "CvcvCvcvnoCvcv", "CvcvCvcvCvcvno", "CvccnoCvcvCvcv", "CvccCvcvnoCvcv", "CvccCvcvCvcvno",
            "CvcvnoCvccCvcv", "CvcvCvccnoCvcv", "CvcvCvccCvcvno", "CvcvnoCvcvCvcc", "CvcvCvcvnoCvcc", "CvcvCvcvCvccno",
            "CvccnoCvccCvcv", "CvccCvccnoCvcv", "CvccCvccCvcvno", "CvcvnoCvccCvcc", "CvcvCvccnoCvcc", "CvcvCvccCvccno",
            "CvccnoCvcvCvcc", "CvccCvcvnoCvcc", "CvccCvcvCvccno",
        ],
    ),
    ("medium", &["CvcnoCvc", "CvcCvcno"]),
    ("short", &["Cvcn"]),
    ("basic", &["aaanaaan", "aannaaan", "aaannaaa"]),
    ("pin", &["nnnn"]),
];

fn set(letter: char) -> &'static [u8] {
    match letter {
        'V' => b"AEIOU",
        'C' => b"BCDFGHJKLMNPQRSTVWXYZ",
        'v' => b"aeiou",
        'c' => b"bcdfghjklmnpqrstvwxyz",
        'A' => b"AEIOUBCDFGHJKLMNPQRSTVWXYZ",
        'a' => b"AEIOUaeiouBCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz",
        'n' => b"0123456789",
        'o' => b"@&%?,=[]_:-+*$#!'^~;()/.",
        _ => b"AEIOUaeiouBCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz0123456789!@#$%^&*()",
    }
}

/// The algorithm of Master Password, version 2: a key of the user, and a password of site and counter.
fn derive(arguments: &[Value]) -> Result<Value, Failure> {
    let [counter, kind, password, user, site] = exact(arguments)?;
    let counter = match counter {
        Value::Int(number) => u32::try_from(*number).ok(),
        _ => int(counter).ok().and_then(|number| u32::try_from(number).ok()),
    };
    let counter = counter.ok_or_else(|| Failure::new("the counter must be a whole number from 0"))?;
    let (kind, password, user, site) = (text(kind)?, text(password)?, text(user)?, text(site)?);
    let Some((_, patterns)) = PATTERNS.iter().find(|(name, _)| *name == kind) else {
        return Ok(format!("cannot find password template {kind}").into());
    };
    const SCOPE: &[u8] = b"com.lyndir.masterpassword";
    let size = |text: &str| u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes();
    let salt = [SCOPE, &size(user), user.as_bytes()].concat();
    let mut key = [0; 64];
    let cost = scrypt::Params::new(15, 8, 2).map_err(|error| Failure::new(error.to_string()))?;
    scrypt::scrypt(password.as_bytes(), &salt, &cost, &mut key).map_err(|error| Failure::new(error.to_string()))?;
    let message = [SCOPE, &size(site), site.as_bytes(), &counter.to_be_bytes()].concat();
    let tag = aws_lc_rs::hmac::sign(&aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &key), &message);
    let mut seed = tag.as_ref().iter().map(|&byte| usize::from(byte));
    let first = seed.next().unwrap_or(0);
    let pattern = patterns.get(first % patterns.len()).copied().unwrap_or_default();
    let letter = |(letter, byte): (char, usize)| {
        let set = set(letter);
        set.get(byte % set.len()).map(|&byte| char::from(byte))
    };
    Ok(pattern.chars().zip(seed).filter_map(letter).collect::<String>().into())
}

/// The first 32 bytes of the password, with zeros behind.
fn key(password: &str) -> Result<UnboundCipherKey, Failure> {
    let mut key = [0; 32];
    for (byte, given) in key.iter_mut().zip(password.bytes()) {
        *byte = given;
    }
    UnboundCipherKey::new(&AES_256, &key).map_err(|_| Failure::new("the key cannot be used"))
}

fn encrypt(password: &str, plain: &str) -> Result<Value, Failure> {
    let failed = |_| Failure::new("cannot encrypt");
    let sealer = PaddedBlockEncryptingKey::cbc_pkcs7(key(password)?).map_err(failed)?;
    let mut data = plain.as_bytes().to_vec();
    let context = sealer.encrypt(&mut data).map_err(failed)?;
    let DecryptionContext::Iv128(iv) = context else { return Err(Failure::new("cannot encrypt")) };
    Ok(STANDARD.encode([iv.as_ref().as_slice(), &data].concat()).into())
}

fn decrypt(password: &str, sealed: &str) -> Result<Value, Failure> {
    let failed = || Failure::new("cannot decrypt: another key, or damaged");
    let bytes = STANDARD.decode(sealed).map_err(|_| Failure::new("illegal base64 data"))?;
    let (iv, data) = bytes.split_at_checked(16).ok_or_else(failed)?;
    let iv: [u8; 16] = iv.try_into().map_err(|_| failed())?;
    let opener = PaddedBlockDecryptingKey::cbc_pkcs7(key(password)?).map_err(|_| failed())?;
    let mut data = data.to_vec();
    let plain = opener.decrypt(&mut data, DecryptionContext::Iv128(FixedLength::from(iv))).map_err(|_| failed())?;
    Ok(text_or_bytes(plain))
}
