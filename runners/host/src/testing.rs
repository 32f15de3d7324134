//! HTTP servers of a few lines, for tests of what speaks to one.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;

/// Answers one connection after the other with these bytes, and hangs up. Where it is, and in the end what it was asked.
pub(crate) fn answer_in_turn(
    answers: &'static [&'static str],
) -> (String, JoinHandle<Vec<String>>) {
    let (listener, address) = listen();
    let answer = move |answer: &&str| {
        let (mut connection, _) = listener.accept().unwrap();
        let request = read_request(&mut connection);
        connection.write_all(answer.as_bytes()).unwrap();
        request
    };
    let asked = std::thread::spawn(move || answers.iter().map(answer).collect());
    (address, asked)
}

/// Serves these files, in whose text `@` stands for the server's address; there are no others. Where it is.
pub(crate) fn serve_files(files: &'static [(&'static str, &'static str)]) -> String {
    let (listener, address) = listen();
    let own = address.clone();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let request = read_request(&mut connection);
            let path = request.split(' ').nth(1).unwrap_or_default();
            let found = files.iter().find(|(name, _)| *name == path);
            let (status, body) = found.map_or(("404 Not Found", String::new()), |(_, body)| {
                ("200 OK", body.replace('@', &own))
            });
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
            );
            let _ = connection.write_all((head + &body).as_bytes());
        }
    });
    address
}

fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    (listener, address)
}

/// A request up to the end of its head.
fn read_request(connection: &mut TcpStream) -> String {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") && matches!(connection.read(&mut byte), Ok(1)) {
        request.extend(byte);
    }
    String::from_utf8(request).unwrap()
}
