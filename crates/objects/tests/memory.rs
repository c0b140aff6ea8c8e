//! Memory does not grow with the object. Alone in its binary, so that the peak of the process is its own.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use kiln_objects::{Client, Config, Environment, Location, Source};

const GIB: u64 = 1 << 30;
const PIECE: usize = 1 << 20;

/// Zeros that take no memory.
struct Zeros;

impl Source for Zeros {
    fn read_at(&self, _: u64, buffer: &mut [u8]) -> io::Result<usize> {
        buffer.fill(0);
        Ok(buffer.len())
    }
}

/// Answers one request: a GET with a GiB, an upload with what S3 says.
fn serve(stream: &TcpStream) -> io::Result<bool> {
    let mut reader = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), 0);
    if reader.read_line(&mut line)? == 0 {
        return Ok(false);
    }
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().expect("a length");
        }
    }
    io::copy(&mut reader.take(length), &mut io::sink())?;
    let mut stream = stream;
    if line.starts_with("GET") {
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {GIB}\r\nETag: \"e\"\r\n\r\n")?;
        let piece = vec![0; PIECE];
        for _ in 0..GIB / PIECE as u64 {
            stream.write_all(&piece)?;
        }
        return Ok(true);
    }
    let body = if line.contains("uploads=") { "<R><UploadId>u</UploadId></R>" } else { "<R/>" };
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nETag: \"e\"\r\n\r\n{body}", body.len())?;
    Ok(true)
}

fn server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || while serve(&stream).unwrap_or(false) {});
        }
    });
    address
}

/// The most memory this process ever had, in MiB.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

#[test]
fn a_gibibyte_passes_through_a_few_mebibytes() {
    let environment = Environment::empty()
        .with("S3_ENDPOINT", format!("http://{}", server()))
        .with("AWS_ACCESS_KEY_ID", "id")
        .with("AWS_SECRET_ACCESS_KEY", "secret");
    let client = Client::new(Config { environment, ..Config::default() }).unwrap();
    let location = Location::parse("s3://bucket/key").unwrap().unwrap();
    let before = peak();
    let head = client.get(&location, &mut io::sink(), &|_| {}).unwrap();
    assert_eq!(head.size, GIB);
    client.put(&location, &Zeros, GIB / 2, &|_| {}).unwrap();
    let grown = peak() - before;
    assert!(grown < 32, "the peak grew by {grown} MiB");
}
