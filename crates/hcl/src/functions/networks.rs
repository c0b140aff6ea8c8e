//! IP networks: `10.0.0.0/8`, `fd00::/48`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use num_bigint::BigInt;

use super::{FunctionError, Outcome, Row, argument_error, big, call_error, integer, text};
use crate::value::Value;

pub(super) const TABLE: &[Row] = &[
    ("cidrhost", 2, 2, |args, _| {
        let network = Network::of(args)?;
        let number = big(args, 1)?;
        let size = BigInt::from(1) << (network.bits - network.length);
        // Counted from the end when negative.
        let host = if number < BigInt::from(0) { &size + &number } else { number };
        if host < BigInt::from(0) || host >= size {
            return argument_error(1, format!("the network has {size} addresses"));
        }
        match u128::try_from(host) {
            Ok(host) => Ok(network.address(network.base | host).into()),
            Err(_) => argument_error(1, "it is too large"),
        }
    }),
    ("cidrnetmask", 1, 1, |args, _| {
        let network = Network::of(args)?;
        if network.bits != 32 {
            return argument_error(0, "only networks of IPv4 have such a mask");
        }
        Ok(network.address(network.mask()).into())
    }),
    ("cidrsubnet", 3, 3, |args, _| {
        let network = Network::of(args)?;
        let more = width(args, 1)?;
        let number = big(args, 2)?;
        let length = network.length + more;
        if length > network.bits {
            return argument_error(1, format!("there are only {} bits left", network.bits - network.length));
        }
        let count = BigInt::from(1) << more;
        let number = if number < BigInt::from(0) { &count + &number } else { number };
        if number < BigInt::from(0) || number >= count {
            return argument_error(2, format!("{more} more bits make {count} networks"));
        }
        let Ok(number) = u128::try_from(number) else { return argument_error(2, "it is too large") };
        let base = network.base | shift(number, network.bits - length);
        Ok(Network { base, length, ..network }.to_text().into())
    }),
    ("cidrsubnets", 1, super::MANY, |args, _| cidrsubnets(args)),
];

#[derive(Clone, Copy)]
struct Network {
    base: u128,
    bits: u32,
    length: u32,
}

fn shift(value: u128, by: u32) -> u128 {
    value.checked_shl(by).unwrap_or(0)
}

fn width(args: &[Value], index: usize) -> Result<u32, FunctionError> {
    match u32::try_from(integer(args, index)?) {
        Ok(width @ 0..=128) => Ok(width),
        _ => argument_error(index, "a number of bits from 0 to 128 is required"),
    }
}

impl Network {
    fn of(args: &[Value]) -> Result<Network, FunctionError> {
        let written = text(args, 0)?;
        let parsed = written.split_once('/').and_then(|(address, length)| {
            // Old tools read zeros at the beginning as octal numbers: the standard library refuses them.
            let address: IpAddr = address.parse().ok()?;
            let plain = length.bytes().all(|byte| byte.is_ascii_digit()) && !length.is_empty();
            let length: u32 = length.parse().ok().filter(|_| plain)?;
            let (base, bits) = match address {
                IpAddr::V4(address) => (u128::from(u32::from(address)), 32),
                IpAddr::V6(address) => (u128::from(address), 128),
            };
            (length <= bits).then_some(Network { base, bits, length })
        });
        match parsed {
            Some(network) => Ok(Network { base: network.base & network.mask(), ..network }),
            None => argument_error(0, format!("`{written}` is no network such as `10.0.0.0/8`")),
        }
    }

    fn mask(&self) -> u128 {
        let all = if self.bits == 32 { u128::from(u32::MAX) } else { u128::MAX };
        all & shift(all, self.bits - self.length)
    }

    fn address(&self, value: u128) -> String {
        match u32::try_from(value) {
            Ok(value) if self.bits == 32 => Ipv4Addr::from(value).to_string(),
            _ => Ipv6Addr::from(value).to_string(),
        }
    }

    fn to_text(self) -> String {
        format!("{}/{}", self.address(self.base), self.length)
    }
}

/// Networks one after the other, each as near to the one before as its size lets it be.
fn cidrsubnets(args: &[Value]) -> Outcome {
    let network = Network::of(args)?;
    let mut next = network.base;
    let mut full = false;
    let mut all = Vec::new();
    for index in 1..args.len() {
        let more = width(args, index)?;
        let length = network.length + more;
        if more == 0 || length > network.bits {
            return argument_error(index, format!("it must be from 1 to {}", network.bits - network.length));
        }
        let size = shift(1, network.bits - length);
        let base = next.checked_add(size - 1).map(|end| end & !(size - 1));
        let inside = |base: &u128| !full && base & network.mask() == network.base;
        let Some(base) = base.filter(inside) else { return call_error("the network has no room for these") };
        all.push(Network { base, length, ..network }.to_text());
        match base.checked_add(size) {
            Some(after) => next = after,
            None => full = true,
        }
    }
    Ok(Value::strings(all))
}
