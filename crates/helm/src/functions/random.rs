//! Random texts and numbers: from the system, or from a seed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kiln_gotmpl::{Failure, Functions, Value};
use sha2::{Digest, Sha256};

use super::arguments::{exact, int, text};
use super::{MAX_TEXT, too_long};

/// Where random bytes come from.
struct Source {
    seed: Option<u64>,
    taken: AtomicU64,
}

impl Source {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), Failure> {
        let Some(seed) = self.seed else {
            return aws_lc_rs::rand::fill(bytes).map_err(|_| Failure::new("the system has no random numbers"));
        };
        for chunk in bytes.chunks_mut(32) {
            let at = self.taken.fetch_add(1, Ordering::Relaxed);
            let block = Sha256::new().chain_update(seed.to_le_bytes()).chain_update(at.to_le_bytes()).finalize();
            for (byte, random) in chunk.iter_mut().zip(block) {
                *byte = random;
            }
        }
        Ok(())
    }

    /// A number below `limit`, all with the same chance.
    fn below(&self, limit: u64) -> Result<u64, Failure> {
        let mut bytes = [0; 8];
        loop {
            self.fill(&mut bytes)?;
            let number = u64::from_le_bytes(bytes);
            // The last, incomplete round of remainders does not count.
            if number < u64::MAX - u64::MAX % limit {
                return Ok(number % limit);
            }
        }
    }

    fn pick(&self, set: &[u8], count: i64) -> Result<String, Failure> {
        let count = usize::try_from(count).map_err(|_| Failure::new("a negative number of characters"))?;
        if count > MAX_TEXT / 16 {
            return Err(too_long());
        }
        let mut out = String::with_capacity(count);
        for _ in 0..count {
            let at = self.below(set.len() as u64)?;
            out.extend(usize::try_from(at).ok().and_then(|at| set.get(at)).map(|&byte| char::from(byte)));
        }
        Ok(out)
    }
}

pub(crate) fn add(functions: &mut Functions<'_>, seed: Option<u64>) {
    let source = Arc::new(Source { seed, taken: AtomicU64::new(0) });
    let ascii: Vec<u8> = (b' '..=b'~').collect();
    let of = |keep: fn(&u8) -> bool| ascii.iter().copied().filter(keep).collect::<Vec<u8>>();
    let sets = [
        ("randAlphaNum", of(u8::is_ascii_alphanumeric)),
        ("randAlpha", of(u8::is_ascii_alphabetic)),
        ("randNumeric", of(u8::is_ascii_digit)),
        ("randAscii", of(|_| true)),
    ];
    for (name, set) in sets {
        let source = Arc::clone(&source);
        functions.add(name, move |arguments| {
            let [count] = exact(arguments)?;
            source.pick(&set, int(count)?).map(Value::from)
        });
    }
    let from = Arc::clone(&source);
    functions.add("randBytes", move |arguments| {
        let [count] = exact(arguments)?;
        let count = usize::try_from(int(count)?).ok().filter(|&count| count <= MAX_TEXT / 16).ok_or_else(too_long)?;
        let mut bytes = vec![0; count];
        from.fill(&mut bytes)?;
        Ok(STANDARD.encode(bytes).into())
    });
    let from = Arc::clone(&source);
    functions.add("randInt", move |arguments| {
        let [low, high] = exact(arguments)?;
        let (low, high) = (int(low)?, int(high)?);
        let width = high.checked_sub(low).and_then(|width| u64::try_from(width).ok()).filter(|&width| width > 0);
        let width = width.ok_or_else(|| Failure::new("invalid argument to Intn"))?;
        let number = i64::try_from(from.below(width)?).unwrap_or(0);
        Ok(Value::Int(low + number))
    });
    let from = Arc::clone(&source);
    functions.add("shuffle", move |arguments| {
        let [value] = exact(arguments)?;
        let mut chars: Vec<char> = text(value)?.chars().collect();
        for at in (1..chars.len()).rev() {
            chars.swap(at, usize::try_from(from.below(at as u64 + 1)?).unwrap_or(at));
        }
        Ok(chars.into_iter().collect::<String>().into())
    });
    functions.add("uuidv4", move |arguments| {
        let [] = exact(arguments)?;
        let mut bytes = [0; 16];
        source.fill(&mut bytes)?;
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-").into())
    });
}
