//! The network of a machine with one application: loopback, and one card with an address that is said or asked for.

use alloc::ffi::CString;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::files::{self, path};
use crate::guest::address::{self, Addressing, Fixed, Ip, show};
use crate::guest::dhcp::{Answer, Client, Kind};
use crate::say::{Level, reason, say};
use crate::sys::{self, Fd};

const SIOCGIFFLAGS: usize = 0x8913;
const SIOCSIFFLAGS: usize = 0x8914;
const SIOCSIFADDR: usize = 0x8916;
const SIOCSIFNETMASK: usize = 0x891c;
const SIOCSIFMTU: usize = 0x8922;
const SIOCGIFHWADDR: usize = 0x8927;
/// It is up.
const IFF_UP: u16 = 1;
/// The route is up; it leads over somebody else; it is to one host.
const RTF: (u16, u16, u16) = (1, 2, 4);
const SO_BROADCAST: usize = 6;
const SO_BINDTODEVICE: usize = 25;

/// How long a card that the command line names may take to appear, in milliseconds.
const PATIENCE: u64 = 10_000;
/// How long each question waits for its answer.
const TRIES: [u64; 6] = [500, 1_000, 2_000, 4_000, 4_000, 4_000];

/// What a machine has of the network.
pub struct Lease {
    /// The machine's name, when the network says it.
    pub hostname: String,
    /// When it is asked for again, in milliseconds since the start.
    pub renew_at: Option<u64>,
    dns: Vec<Ip>,
    domain: String,
    address: Ip,
    seconds: u64,
    device: String,
    client: Option<Client>,
}

/// Does what `ip=` says; without it, an address is asked for if there is a card. The reason when something that was
/// said cannot be.
pub fn bring_up(ip: Option<&str>, hostname: &[u8]) -> Result<Option<Lease>, String> {
    let socket = sys::datagrams().map_err(|e| format!("this kernel has no network: {}", reason(e)));
    let socket = match (socket, ip) {
        (Ok(socket), _) => socket,
        (Err(_), None | Some("off" | "none")) => return Ok(None),
        (Err(why), Some(_)) => return Err(why),
    };
    up(&socket, "lo").map_err(|e| format!("cannot bring up lo: {}", reason(e)))?;
    let own = String::from_utf8_lossy(hostname).into_owned();
    match address::addressing(ip.unwrap_or("dhcp"))? {
        Addressing::Off => Ok(None),
        Addressing::Fixed(fixed) => {
            let device = card(fixed.device.as_deref(), true)?.unwrap_or_default();
            up(&socket, &device).map_err(|e| format!("cannot bring up {device}: {}", reason(e)))?;
            configure(&socket, &device, &fixed)?;
            Ok(Some(Lease {
                hostname: fixed.hostname.unwrap_or_default(),
                renew_at: None,
                dns: fixed.dns,
                domain: String::new(),
                address: fixed.address,
                seconds: 0,
                device,
                client: None,
            }))
        }
        Addressing::Dhcp { device, hostname } => {
            let Some(device) = card(device.as_deref(), ip.is_some())? else { return Ok(None) };
            up(&socket, &device).map_err(|e| format!("cannot bring up {device}: {}", reason(e)))?;
            match ask(&socket, &device, hostname.unwrap_or(own)) {
                Ok(lease) => Ok(Some(lease)),
                // Nobody said that there is somebody to ask.
                Err(why) if ip.is_none() => {
                    say(Level::Wrong, &format!("{why}; going on without a network"));
                    Ok(None)
                }
                Err(why) => Err(why),
            }
        }
    }
}

/// The card: the one that is named, else the first that is a device.
fn card(named: Option<&str>, must: bool) -> Result<Option<String>, String> {
    // A driver that was loaded has made its card by now; one that is built in may still be at it.
    let until = sys::now() + if must { PATIENCE } else { 500 };
    loop {
        let all = files::list("/sys/class/net");
        let found = match named {
            Some(name) => all.iter().find(|n| *n == name),
            None => all.iter().find(|n| !files::list(&format!("/sys/class/net/{n}/device")).is_empty()),
        };
        if let Some(found) = found {
            return Ok(Some(found.clone()));
        }
        if sys::now() >= until {
            return match (must, named) {
                (false, _) => Ok(None),
                (true, Some(name)) => Err(format!("there is no network card {name}; there are {}", all.join(", "))),
                (true, None) => {
                    Err(String::from("there is no network card: no driver of it is in the kernel, or it has none"))
                }
            };
        }
        sys::sleep(20);
    }
}

/// A request about a card, with its name in it.
fn about(device: &str) -> [u8; 40] {
    let mut request = [0; 40];
    let name = device.as_bytes();
    let count = name.len().min(15);
    request[..count].copy_from_slice(&name[..count]);
    request
}

fn up(socket: &Fd, device: &str) -> sys::Result<()> {
    let mut request = about(device);
    sys::card(socket, SIOCGIFFLAGS, &mut request)?;
    let flags = u16::from_ne_bytes([request[16], request[17]]) | IFF_UP;
    request[16..18].copy_from_slice(&flags.to_ne_bytes());
    sys::card(socket, SIOCSIFFLAGS, &mut request).map(drop)
}

/// An address with a port, as the kernel has them: AF_INET first.
fn socket_address(ip: Ip, port: u16) -> [u8; 16] {
    let mut address = [0; 16];
    address[..2].copy_from_slice(&2_u16.to_ne_bytes());
    address[2..4].copy_from_slice(&port.to_be_bytes());
    address[4..8].copy_from_slice(&ip);
    address
}

fn configure(socket: &Fd, device: &str, fixed: &Fixed) -> Result<(), String> {
    for (request, ip) in [(SIOCSIFADDR, fixed.address), (SIOCSIFNETMASK, fixed.mask)] {
        let mut what = about(device);
        what[16..32].copy_from_slice(&socket_address(ip, 0));
        sys::card(socket, request, &mut what)
            .map_err(|e| format!("cannot give {device} the address {}: {}", show(ip), reason(e)))?;
    }
    let Some(gateway) = fixed.gateway else { return Ok(()) };
    let name = path(device);
    let add = |to: Ip, over: Ip, mask: Ip, flags: u16, card: Option<&CString>| {
        let mut route = [0; 120];
        for (at, ip) in [(8, to), (24, over), (40, mask)] {
            route[at..at + 16].copy_from_slice(&socket_address(ip, 0));
        }
        route[56..58].copy_from_slice(&flags.to_ne_bytes());
        sys::add_route(socket, &mut route, card.map(|c| &**c))
    };
    let everywhere = || add([0; 4], gateway, [0; 4], RTF.0 | RTF.1, None);
    let done = match everywhere() {
        // A gateway outside of the card's network, as clouds have them.
        Err(sys::ENETUNREACH) => {
            let _ = add(gateway, [0; 4], [255; 4], RTF.0 | RTF.2, Some(&name));
            everywhere()
        }
        done => done,
    };
    match done {
        Ok(_) | Err(sys::EEXIST) => Ok(()),
        Err(e) => Err(format!("cannot make {} the way to other networks: {}", show(gateway), reason(e))),
    }
}

/// Asks for an address, and takes it.
fn ask(socket: &Fd, device: &str, hostname: String) -> Result<Lease, String> {
    let mut request = about(device);
    sys::card(socket, SIOCGIFHWADDR, &mut request)
        .map_err(|e| format!("cannot ask {device} for its address: {}", reason(e)))?;
    let mut hardware = [0; 6];
    hardware.copy_from_slice(&request[18..24]);
    let client = Client { card: hardware, conversation: sys::random(), hostname };
    let line = Line::open(device).map_err(|e| format!("cannot ask for an address on {device}: {}", reason(e)))?;
    let mut refused = false;
    for wait in TRIES {
        let Some(offer) = line.question(&client, &client.discover(), Kind::Offer, wait) else { continue };
        let Some(answer) = line.question(&client, &client.request(&offer), Kind::Granted, wait.max(2_000)) else {
            refused = true;
            continue;
        };
        let fixed = Fixed { address: answer.address, mask: answer.mask, gateway: answer.gateway, ..Fixed::default() };
        drop(line);
        configure(socket, device, &fixed)?;
        if let Some(mtu) = answer.mtu {
            let mut request = about(device);
            request[16..20].copy_from_slice(&i32::from(mtu).to_ne_bytes());
            let _ = sys::card(socket, SIOCSIFMTU, &mut request);
        }
        say(Level::Note, &format!("{device} has the address {} for {} s", show(answer.address), answer.lease));
        return Ok(Lease::of(answer, device, client));
    }
    let why = if refused { "it offers one and does not give it" } else { "nobody answers" };
    Err(format!("no address for {device} by DHCP: {why}"))
}

/// A socket at the client's port on one card.
struct Line(Fd);

impl Line {
    fn open(device: &str) -> sys::Result<Line> {
        let socket = sys::datagrams()?;
        sys::socket_option(&socket, SO_BROADCAST, &1_i32.to_ne_bytes())?;
        sys::socket_option(&socket, SO_BINDTODEVICE, device.as_bytes())?;
        sys::bind(&socket, &socket_address([0; 4], 68))?;
        Ok(Line(socket))
    }

    /// The first answer of this kind within so many milliseconds.
    fn question(&self, client: &Client, packet: &[u8], kind: Kind, wait: u64) -> Option<Answer> {
        if let Err(e) = sys::send_to(&self.0, packet, &socket_address([255; 4], 67)) {
            say(Level::Wrong, &format!("cannot send: {}", reason(e)));
        }
        let until = sys::now() + wait;
        let mut room = [0; 1500];
        loop {
            let left = until.saturating_sub(sys::now());
            if left == 0 || !sys::readable(&self.0, left) {
                return None;
            }
            let count = sys::read(&self.0, &mut room).ok()?;
            match client.answer(&room[..count]) {
                Some(answer) if answer.kind == kind => return Some(answer),
                Some(answer) if answer.kind == Kind::Refused => return None,
                _ => {}
            }
        }
    }
}

impl Lease {
    fn of(answer: Answer, device: &str, client: Client) -> Lease {
        let seconds = u64::from(answer.lease);
        // All ones is for ever.
        let renew_at = (answer.lease != u32::MAX).then(|| sys::now() + seconds * 500);
        Lease {
            hostname: answer.hostname,
            renew_at,
            dns: answer.dns,
            domain: answer.domain,
            address: answer.address,
            seconds,
            device: String::from(device),
            client: Some(client),
        }
    }

    /// Asks for the same address for longer. The card keeps it whatever comes: an application that listens there is
    /// better off with an address that is its own no more than with none.
    pub fn renew(&mut self) {
        let Some(client) = &self.client else { return };
        let line = Line::open(&self.device);
        let answer = line.ok().and_then(|l| l.question(client, &client.extend(self.address), Kind::Granted, 1_000));
        match answer.filter(|a| a.address == self.address) {
            Some(answer) => self.seconds = u64::from(answer.lease),
            None => {
                self.seconds = (self.seconds / 2).max(60);
                say(Level::Note, &format!("nobody lets {} have {} for longer", self.device, show(self.address)));
            }
        }
        self.renew_at = Some(sys::now() + self.seconds * 500);
    }

    /// `/etc/resolv.conf`; nothing when nobody is to be asked.
    pub fn resolv_conf(&self) -> String {
        let mut text = String::new();
        if !self.dns.is_empty() && !self.domain.is_empty() {
            text += &format!("search {}\n", self.domain);
        }
        for ip in &self.dns {
            text += &format!("nameserver {}\n", show(*ip));
        }
        text
    }
}
