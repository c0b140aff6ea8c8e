//! Requests in, answers out: an address, one socket for datagrams, and a few for connections.

use alloc::vec;

use dns_server::answer::{Via, answer};
use dns_server::words::{Address, Words};
use dns_server::zone::Zone;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::dhcpv4;
use smoltcp::socket::udp::{self, PacketBuffer, PacketMetadata};
use smoltcp::time::Duration;
use smoltcp::wire::{EthernetAddress, IpCidr, Ipv4Address, Ipv4Cidr};

use crate::card::Card;
use crate::clock::Clock;
use crate::connections::Connections;
use crate::console::say;
use crate::cpu;
use crate::exit::fail;

/// The port of DNS.
pub(crate) const PORT: u16 = 53;
/// Datagrams that wait, and their bytes.
const WAITING: usize = 64;
const BYTES: usize = 64 << 10;
/// How long it is waited for the next packet without sleeping: after an answer, and before the first.
const AWAKE: Duration = Duration::from_millis(1);
const AWAKE_AT_FIRST: Duration = Duration::from_millis(100);
/// After so long without a request it sleeps longer each time: the card is looked at, and does not wake.
const QUIET: Duration = Duration::from_secs(1);
/// How often it is said that nobody gives an address.
const COMPLAIN: Duration = Duration::from_secs(10);

/// The machine on its network.
struct Network<'a> {
    interface: Interface,
    sockets: SocketSet<'a>,
    datagrams: SocketHandle,
    dhcp: Option<SocketHandle>,
    address: Option<Ipv4Address>,
    answered: u64,
}

/// Answers for ever.
pub(crate) fn serve(mut card: Card, zone: &Zone, words: &Words, clock: &Clock) -> ! {
    say!("network card {} by {}", EthernetAddress(card.address()), card.by);
    let mut out = vec![0; usize::from(u16::MAX)];
    let mut network = Network::new(&mut card, words, clock);
    let mut connections = Connections::new(&mut network.sockets);
    let (mut busy, mut complained) = (clock.now(), clock.now());
    let mut told = false;
    loop {
        let now = clock.now();
        network.interface.poll(now, &mut card, &mut network.sockets);
        network.lease(clock);
        let before = network.answered;
        network.datagrams(zone, &mut out);
        network.answered += connections.serve(&mut network.sockets, zone, now, &mut out);
        if network.answered > before {
            busy = now;
            network.interface.poll(now, &mut card, &mut network.sockets);
            if !told {
                say!("first answer {} after the first instruction", clock.since_entry());
                told = true;
            }
        } else if network.address.is_none() && now - complained >= COMPLAIN {
            say!("nobody has given an address by DHCP yet; ip=ADDRESS::GATEWAY:MASK on the command line sets one");
            complained = now;
        } else if now - busy > if told { AWAKE } else { AWAKE_AT_FIRST } {
            clock.sleep(if now - busy > QUIET { 4 } else { 1 });
        }
    }
}

impl Network<'_> {
    fn new(card: &mut Card, words: &Words, clock: &Clock) -> Network<'static> {
        let mut config = Config::new(EthernetAddress(card.address()).into());
        config.random_seed = cpu::random();
        let interface = Interface::new(config, card, clock.now());
        let mut sockets = SocketSet::new(vec![]);
        let buffer = || PacketBuffer::new(vec![PacketMetadata::EMPTY; WAITING], vec![0; BYTES]);
        let mut socket = udp::Socket::new(buffer(), buffer());
        if socket.bind(PORT).is_err() {
            fail!("port {PORT} cannot be taken");
        }
        let datagrams = sockets.add(socket);
        let mut network = Network { interface, sockets, datagrams, dhcp: None, address: None, answered: 0 };
        match words.address {
            Address::Dhcp => network.dhcp = Some(network.sockets.add(dhcpv4::Socket::new())),
            Address::Fixed { address, prefix, gateway } => {
                network.take(Ipv4Cidr::new(address, prefix), gateway, "the command line", clock);
            }
        }
        network
    }

    /// What the DHCP server says.
    fn lease(&mut self, clock: &Clock) {
        let Some(dhcp) = self.dhcp else { return };
        match self.sockets.get_mut::<dhcpv4::Socket<'_>>(dhcp).poll() {
            None => {}
            Some(dhcpv4::Event::Configured(config)) => {
                let (address, router) = (config.address, config.router);
                self.take(address, router, "DHCP", clock);
            }
            Some(dhcpv4::Event::Deconfigured) => {
                if self.address.take().is_some() {
                    say!("the address is lost: the lease ended");
                }
                self.interface.update_ip_addrs(|addresses| addresses.clear());
                self.interface.routes_mut().remove_default_ipv4_route();
            }
        }
    }

    fn take(&mut self, address: Ipv4Cidr, gateway: Option<Ipv4Address>, by: &str, clock: &Clock) {
        self.interface.update_ip_addrs(|addresses| {
            addresses.clear();
            // There is room for one.
            let _ = addresses.push(IpCidr::Ipv4(address));
        });
        let routes = self.interface.routes_mut();
        routes.remove_default_ipv4_route();
        if let Some(gateway) = gateway {
            let _ = routes.add_default_ipv4_route(gateway);
        }
        self.address = Some(address.address());
        let at = clock.since_entry();
        say!("{address} by {by}: answering on port {PORT}, ready {at} after the first instruction");
    }

    fn datagrams(&mut self, zone: &Zone, out: &mut [u8]) {
        let socket = self.sockets.get_mut::<udp::Socket<'_>>(self.datagrams);
        while socket.can_send()
            && let Ok((request, from)) = socket.recv()
        {
            // Who asks everybody at once, or from nowhere, is not answered.
            let here = from.local_address == self.address.map(Into::into);
            if !here || from.endpoint.port == 0 {
                continue;
            }
            let Some(length) = answer(zone, request, Via::Udp, out) else { continue };
            // What has no room is lost, as datagrams may be; the asker asks again.
            if socket.send_slice(&out[..length], from).is_ok() {
                self.answered += 1;
            }
        }
    }
}
