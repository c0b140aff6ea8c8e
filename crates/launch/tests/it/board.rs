//! Who sends what to whom: on hosts that only move numbers, and with faults.

use std::net::SocketAddr;
use std::time::Duration;

use kiln_launch::agent::peer::words::Kind;
use kiln_launch::swarm::board::{Board, Flight, Rules, Source, Verdict};

use crate::simulate::{Scene, simulate};

const RULES: Rules = Rules { uploads: 1, downloads: 1, seeds: 1 };
const NOW: Duration = Duration::from_secs(1);

fn address(host: usize) -> SocketAddr {
    format!("10.0.0.{}:4000", host + 1).parse().unwrap()
}

/// Hosts that have nothing.
fn empty(hosts: usize, sizes: &[u64]) -> Board {
    let mut board = Board::new(hosts, sizes.to_vec(), RULES);
    (0..hosts).for_each(|host| board.arrive(host, Some(address(host)), &[], true));
    board
}

/// Ends a transfer well.
fn done(board: &mut Board, flight: &Flight) {
    if flight.from != Source::Launcher {
        flight.blobs.iter().for_each(|blob| assert!(board.got(flight.to, flight.order, *blob)));
    }
    assert_eq!(board.ended(flight.to, flight.order, None, NOW), Verdict::Again);
}

/// An image as they are: one large blob, some of middle size, many small.
fn image() -> Vec<u64> {
    let mut sizes = vec![300 << 20];
    sizes.extend((1..=12).map(|n| (n * 5) << 20));
    sizes.extend((0..60).map(|n| 500 + n * 37));
    sizes
}

#[test]
fn the_launcher_sends_everything_once_and_time_hardly_grows_with_hosts() {
    let sizes = image();
    let all: u64 = sizes.iter().sum();
    let line = 125e6;
    let scene = |hosts| Scene { hosts, sizes: sizes.clone(), rules: RULES, line, launcher: line, latency: 0.01 };
    let outcomes: Vec<_> = [1, 2, 8, 32, 200].into_iter().map(|hosts| simulate(&scene(hosts))).collect();
    for outcome in &outcomes {
        assert_eq!(outcome.launcher, all, "{outcome:?}");
        assert!(outcome.most <= RULES.uploads, "{outcome:?}");
    }
    let copy = all as f64 / line;
    for (outcome, most) in outcomes.iter().zip([1.3, 1.3, 1.5, 2.0, 2.5]) {
        assert!(outcome.seconds < copy * most, "{outcome:?}, a copy is {copy} s");
    }
}

#[test]
fn hosts_that_have_the_image_spare_the_launcher() {
    let mut board = Board::new(3, vec![10, 20], RULES);
    board.arrive(0, Some(address(0)), &[0, 1], false);
    board.arrive(1, Some(address(1)), &[1], true);
    board.arrive(2, Some(address(2)), &[], true);
    let flights = board.next(NOW);
    assert!(
        flights.iter().all(|flight| flight.from == Source::Host(0) || flight.from == Source::Host(1)),
        "{flights:?}"
    );
    assert!(flights.iter().all(|flight| flight.to != 0), "{flights:?}");
}

#[test]
fn who_lies_is_not_asked_again_and_the_launcher_steps_in() {
    let mut board = Board::new(3, vec![10], RULES);
    board.arrive(0, Some(address(0)), &[0], false);
    board.arrive(1, Some(address(1)), &[], true);
    board.arrive(2, Some(address(2)), &[], true);
    let first = board.next(NOW);
    assert_eq!(first.iter().map(|flight| (flight.from, flight.to)).collect::<Vec<_>>(), [(Source::Host(0), 1)]);
    assert_eq!(board.ended(1, first[0].order, Some(Kind::Lied), NOW), Verdict::Again);
    let second = board.next(NOW);
    let pairs: Vec<_> = second.iter().map(|flight| (flight.from, flight.to)).collect();
    assert_eq!(pairs, [(Source::Launcher, 1), (Source::Host(0), 2)], "nobody else can send it to the one");
    assert_eq!(board.ended(2, second[1].order, Some(Kind::Lied), NOW), Verdict::Retired(0));
    done(&mut board, &second[0]);
    let mut from = Vec::new();
    for _ in 0..3 {
        for flight in board.next(NOW) {
            from.push(flight.from);
            done(&mut board, &flight);
        }
    }
    assert!(!from.contains(&Source::Host(0)), "{from:?}");
    assert!(board.is_whole(1) && board.is_whole(2));
}

#[test]
fn a_host_behind_a_wall_is_left_to_the_launcher() {
    let mut board = empty(5, &[10, 10, 10, 10, 10, 10]);
    let mut verdicts = Vec::new();
    // Whatever the host asks of others fails; others are well.
    for _ in 0..50 {
        for flight in board.next(NOW) {
            match flight.from {
                Source::Host(_) if flight.to == 4 => {
                    verdicts.push(board.ended(4, flight.order, Some(Kind::Unreachable), NOW));
                }
                _ => done(&mut board, &flight),
            }
        }
    }
    assert!((0..4).all(|host| board.is_whole(host)));
    assert!(board.is_whole(4) || verdicts.contains(&Verdict::Alone(4)), "{verdicts:?}");
}

#[test]
fn where_nobody_can_serve_everybody_is_told() {
    let mut board = Board::new(3, vec![10], RULES);
    board.arrive(0, None, &[], true);
    board.arrive(1, None, &[], true);
    assert_eq!(board.forlorn(), Vec::<usize>::new(), "one is still awaited");
    board.leave(2);
    assert_eq!(board.forlorn(), [0, 1]);
}

#[test]
fn a_host_that_leaves_holds_up_nobody() {
    let mut board = empty(3, &[10, 10]);
    let flights = board.next(NOW);
    let gone = flights[0].to;
    board.leave(gone);
    assert!(!board.got(gone, flights[0].order, 0), "it is not heard any more");
    for flight in &flights[1..] {
        done(&mut board, flight);
    }
    for _ in 0..10 {
        for flight in board.next(NOW) {
            assert!(flight.to != gone && flight.from != Source::Host(gone));
            done(&mut board, &flight);
        }
    }
    assert!((0..3).filter(|host| *host != gone).all(|host| board.is_whole(host)));
}

#[test]
fn an_agent_that_says_done_and_is_not_gets_no_more_orders() {
    let mut board = Board::new(2, vec![10], RULES);
    board.arrive(0, Some(address(0)), &[0], false);
    board.arrive(1, Some(address(1)), &[], true);
    let flight = board.next(NOW).remove(0);
    assert!(!board.got(0, flight.order, 0), "an order is answered by who has it");
    assert!(!board.got(1, flight.order, 7), "and for its blobs");
    assert_eq!(board.ended(1, flight.order, None, NOW), Verdict::Alone(1));
    assert_eq!(board.next(NOW), []);
}

#[test]
fn a_slow_host_does_not_hold_up_the_launcher() {
    let mut board = empty(4, &[100 << 20, 100 << 20, 100 << 20, 100 << 20]);
    let second = Duration::from_secs;
    let finish = |board: &mut Board, flights: Vec<Flight>| {
        for flight in flights {
            board.moved(flight.order, 100 << 20);
            if flight.from != Source::Launcher {
                flight.blobs.iter().for_each(|blob| assert!(board.got(flight.to, flight.order, *blob)));
            }
            assert_eq!(board.ended(flight.to, flight.order, None, second(1)), Verdict::Again);
        }
    };
    let first = board.next(second(0));
    assert_eq!(first.len(), 4, "it is passed on: {first:?}");
    finish(&mut board, first);
    // The next one goes to a host whose line is bad, and to others behind it.
    let slow = board.next(second(1));
    let (head, follower) = (&slow[0], slow.iter().find(|flight| flight.from == Source::Host(slow[0].to)).unwrap());
    assert!(head.from == Source::Launcher && follower.passed_on);
    board.moved(head.order, 1 << 20);
    assert_eq!(board.floor(follower), (100 << 20) / 8, "the launcher has shown what it can");
    assert_eq!(board.ended(follower.to, follower.order, Some(Kind::Slow), second(20)), Verdict::Again);
    let again = board.next(second(20));
    assert_eq!(again.len(), 1, "{again:?}");
    assert_eq!((again[0].from, again[0].to), (Source::Launcher, follower.to));
    assert_ne!(again[0].blobs, head.blobs, "what nobody has comes first");
}

#[test]
fn random_faults_end_too() {
    let mut seed = 7_u64;
    let mut random = move |bound: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % bound
    };
    for _ in 0..200 {
        let hosts = 2 + random(9) as usize;
        let sizes: Vec<u64> = (0..1 + random(20)).map(|_| random(9 << 20)).collect();
        let mut board = empty(hosts, &sizes);
        let mut open: Vec<Flight> = board.next(NOW);
        let (mut alone, mut steps) = (vec![false; hosts], 0);
        while !open.is_empty() {
            steps += 1;
            assert!(steps < 100_000, "it does not end");
            let flight = open.swap_remove(random(open.len() as u64) as usize);
            if flight.from == Source::Launcher || random(4) > 0 {
                done(&mut board, &flight);
            } else {
                let kind = [Kind::Unreachable, Kind::Lied, Kind::Slow, Kind::Broken, Kind::Refused][random(5) as usize];
                if let Verdict::Alone(host) = board.ended(flight.to, flight.order, Some(kind), NOW) {
                    alone[host] = true;
                }
            }
            open.extend(board.next(NOW));
        }
        for host in board.forlorn() {
            alone[host] = true;
        }
        assert!((0..hosts).all(|host| alone[host] || board.is_whole(host)), "{alone:?} {board:?}");
    }
}
