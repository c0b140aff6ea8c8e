//! How many connections each address has, so that one of them cannot have all.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use crate::library::locked;

/// Who is connected.
#[derive(Debug)]
pub struct Crowd {
    most: usize,
    seats: Mutex<HashMap<IpAddr, usize>>,
}

/// A connection of an address; dropped, it counts no more.
#[derive(Debug)]
pub struct Seat {
    crowd: Arc<Crowd>,
    address: IpAddr,
}

impl Crowd {
    /// Nobody yet; an address may have `most` connections.
    pub fn new(most: usize) -> Crowd {
        Crowd { most, seats: Mutex::default() }
    }

    /// One more connection of an address; `None` if it has as many as it may.
    pub fn seat(self: &Arc<Crowd>, address: IpAddr) -> Option<Seat> {
        let address = whose(address);
        let mut seats = locked(&self.seats);
        let count = seats.entry(address).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Seat { crowd: self.clone(), address })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = locked(&self.crowd.seats);
        if let Some(count) = seats.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                seats.remove(&self.address);
            }
        }
    }
}

/// The address that is counted: of IPv6 the half that a host is given, for the other is its own to choose.
fn whose(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(own) => {
            let [a, b, c, d, ..] = own.segments();
            [a, b, c, d, 0, 0, 0, 0].into()
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_as_many_connections_as_it_may() {
        let crowd = Arc::new(Crowd::new(2));
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let first = crowd.seat(ip("10.0.0.1")).unwrap();
        let _second = crowd.seat(ip("::ffff:10.0.0.1")).unwrap();
        assert!(crowd.seat(ip("10.0.0.1")).is_none());
        let _other = crowd.seat(ip("10.0.0.2")).unwrap();
        drop(first);
        assert!(crowd.seat(ip("10.0.0.1")).is_some());
        let _one = crowd.seat(ip("2001:db8::1")).unwrap();
        let _two = crowd.seat(ip("2001:db8::2:0:0:1")).unwrap();
        assert!(crowd.seat(ip("2001:db8::3")).is_none(), "one host has 64 bits of addresses");
        assert!(crowd.seat(ip("2001:db8:0:1::3")).is_some());
        assert_eq!(locked(&crowd.seats).len(), 3, "who has gone takes no memory");
    }
}
