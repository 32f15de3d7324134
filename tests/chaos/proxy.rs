//! The way between a runner and the lease desk. When it is muddled, requests and answers wait and overtake each other, answers break off in
//! the middle or are lost, and requests are made twice. This is done by request rather than by packet (tc's netem), so that it works on
//! every kernel, and hits what matters to the desk.

use fastrand::Rng;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Longest head of a request, in bytes; a runner's has some hundred.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// Largest body of a request, in bytes: the packages here have some ten thousand.
const BODY_BYTES_MAX: usize = 64 << 20;

/// How soon it is seen that a runner has hung up: a killed process's questions must not live on here.
const LOOK: Duration = Duration::from_millis(20);

/// How long something waits, in milliseconds: several renewals, and shorter than a runner waits for an answer.
const WAIT_MS: std::ops::Range<u64> = 50..4_000;

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Pass,
    /// It waits before it is made, so that others overtake it.
    Wait(Duration),
    /// It is made, and its answer waits.
    Late(Duration),
    /// Its answer ends in the middle.
    Break,
    /// Its answer is lost.
    Lose,
    /// It is made twice, and the second answer counts.
    Twice,
}

impl Fate {
    const fn name(self) -> &'static str {
        match self {
            Self::Pass => "passed",
            Self::Wait(_) => "requests delayed",
            Self::Late(_) => "answers delayed",
            Self::Break => "answers broken off",
            Self::Lose => "answers lost",
            Self::Twice => "requests made twice",
        }
    }
}

/// Whether things are muddled, for all ways of a line.
#[derive(Debug)]
pub struct Muddle {
    on: AtomicBool,
    chance: Mutex<Rng>,
    met: Mutex<BTreeMap<&'static str, u64>>,
}

impl Muddle {
    /// Clear, until it is switched on.
    pub fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            on: AtomicBool::new(false),
            chance: Mutex::new(Rng::with_seed(seed)),
            met: Mutex::default(),
        })
    }

    /// Switches it on or off.
    pub fn switch(&self, on: bool) {
        self.on.store(on, Ordering::SeqCst);
    }

    fn is_on(&self) -> bool {
        self.on.load(Ordering::SeqCst)
    }

    /// What requests have met since this was asked last.
    pub fn met(&self) -> BTreeMap<&'static str, u64> {
        std::mem::take(&mut *self.met.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn fate(&self) -> Fate {
        if !self.is_on() {
            return Fate::Pass;
        }
        let mut chance = self.chance.lock().unwrap_or_else(PoisonError::into_inner);
        let time = Duration::from_millis(chance.u64(WAIT_MS));
        let fate = match chance.u8(0..10) {
            0..3 => Fate::Wait(time),
            3 | 4 => Fate::Late(time),
            5 => Fate::Break,
            6 => Fate::Lose,
            7 => Fate::Twice,
            _ => Fate::Pass,
        };
        *self
            .met
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(fate.name())
            .or_default() += 1;
        fate
    }
}

/// Serves a way to a line for as long as this process lives.
pub fn serve(listener: TcpListener, line: SocketAddr, muddle: Arc<Muddle>) {
    std::thread::spawn(move || {
        for runner in listener.incoming().flatten() {
            let muddle = Arc::clone(&muddle);
            // A side that hangs up has its reasons; the other side sees it, and tries again.
            std::thread::spawn(move || pass(runner, line, &muddle));
        }
    });
}

/// Carries one request and its answer; the connection ends with them.
fn pass(mut runner: TcpStream, line: SocketAddr, muddle: &Muddle) -> io::Result<()> {
    let request = request(&mut runner)?;
    let fate = muddle.fate();
    match fate {
        Fate::Pass => {}
        Fate::Wait(time) => std::thread::sleep(time),
        Fate::Twice => drop(ask(&request, line, &runner, muddle)?),
        Fate::Late(_) | Fate::Break | Fate::Lose => {
            let answer = ask(&request, line, &runner, muddle)?;
            match fate {
                Fate::Late(time) => {
                    std::thread::sleep(time);
                    runner.write_all(&answer)?;
                }
                Fate::Break => runner.write_all(&answer[..answer.len() / 2])?,
                _ => {}
            }
            return runner.shutdown(Shutdown::Both);
        }
    }
    relay(&request, line, &mut runner)
}

/// Makes the request; the whole answer. It is not waited for longer than things are muddled: a runner's question for work lasts half a minute,
/// and what becomes of it would else be the trouble of a round that has none.
fn ask(
    request: &[u8],
    line: SocketAddr,
    runner: &TcpStream,
    muddle: &Muddle,
) -> io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    let take = |piece: &[u8]| {
        answer.extend_from_slice(piece);
        Ok(())
    };
    each_piece(request, line, runner, &|| muddle.is_on(), take)?;
    Ok(answer)
}

/// Makes the request, and hands on the answer as it comes.
fn relay(request: &[u8], line: SocketAddr, runner: &mut TcpStream) -> io::Result<()> {
    let mut to = runner.try_clone()?;
    each_piece(request, line, runner, &|| true, |piece| to.write_all(piece))?;
    runner.shutdown(Shutdown::Both)
}

/// Makes the request, and takes its answer piece by piece, unless the runner hangs up, or nobody waits for it any more.
fn each_piece(
    request: &[u8],
    line: SocketAddr,
    runner: &TcpStream,
    waits: &dyn Fn() -> bool,
    mut take: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut desk = TcpStream::connect(line)?;
    desk.write_all(request)?;
    desk.set_read_timeout(Some(LOOK))?;
    let mut piece = [0; 16 << 10];
    loop {
        match desk.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(count) => take(&piece[..count])?,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if has_hung_up(runner)? || !waits() {
                    return Err(ErrorKind::ConnectionAborted.into());
                }
            }
            Err(error) => return Err(error),
        }
    }
}

fn has_hung_up(runner: &TcpStream) -> io::Result<bool> {
    runner.set_nonblocking(true)?;
    let seen = runner.peek(&mut [0]);
    runner.set_nonblocking(false)?;
    Ok(match seen {
        Ok(count) => count == 0,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    })
}

/// Reads a request, and makes it the only one of its connection.
fn request(from: &mut TcpStream) -> io::Result<Vec<u8>> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() > HEAD_BYTES_MAX {
            return Err(io::Error::other("the head of a request has no end"));
        }
        from.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let header = |name: &str| {
        text.lines().find_map(|line| {
            line.split_once(':')
                .filter(|(known, _)| known.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.trim())
        })
    };
    if header("transfer-encoding").is_some() {
        return Err(io::Error::other("runners say how long their requests are"));
    }
    let length: usize = header("content-length")
        .map_or(Ok(0), str::parse)
        .map_err(io::Error::other)?;
    if length > BODY_BYTES_MAX {
        return Err(io::Error::other("a body is longer than any here"));
    }
    if header("expect").is_some() {
        from.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    let is_kept = |line: &&str| {
        !line.is_empty()
            && !["connection:", "expect:"]
                .iter()
                .any(|name| line.to_ascii_lowercase().starts_with(name))
    };
    let mut request: Vec<u8> = text
        .lines()
        .filter(is_kept)
        .flat_map(|line| [line, "\r\n"].concat().into_bytes())
        .collect();
    request.extend_from_slice(b"Connection: close\r\n\r\n");
    request.extend(body);
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    /// A desk that tells how many requests came, and a way to it.
    fn way(muddle: &Arc<Muddle>) -> (SocketAddr, Arc<AtomicUsize>) {
        let desk = TcpListener::bind("127.0.0.1:0").unwrap();
        let (at, heard) = (desk.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&heard);
        std::thread::spawn(move || {
            for mut connection in desk.incoming().flatten() {
                let request = request(&mut connection).unwrap();
                assert!(
                    request.ends_with(b"Connection: close\r\n\r\nhello"),
                    "{}",
                    String::from_utf8_lossy(&request)
                );
                let number = count.fetch_add(1, Ordering::SeqCst) + 1;
                let _ = connection.write_all(
                    format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{number}").as_bytes(),
                );
            }
        });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let here = listener.local_addr().unwrap();
        serve(listener, at, Arc::clone(muddle));
        (here, heard)
    }

    fn say(to: SocketAddr) -> String {
        let mut connection = TcpStream::connect(to).unwrap();
        connection
            .write_all(
                b"POST /x HTTP/1.1\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello",
            )
            .unwrap();
        let mut answer = Vec::new();
        let _ = connection.read_to_end(&mut answer);
        String::from_utf8(answer).unwrap()
    }

    #[test]
    fn a_clear_way_carries_each_request_once_and_its_answer_whole() {
        let (here, heard) = way(&Muddle::new(1));
        assert!(say(here).ends_with("\r\n\r\n1") && say(here).ends_with("\r\n\r\n2"));
        assert_eq!(heard.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn a_muddled_way_does_everything_that_a_network_does() {
        let muddle = Muddle::new(1);
        muddle.switch(true);
        let (here, heard) = way(&muddle);
        let answers: Vec<String> = std::thread::scope(|scope| {
            let asked: Vec<_> = (0..60).map(|_| scope.spawn(|| say(here))).collect();
            asked
                .into_iter()
                .map(|asked| asked.join().unwrap())
                .collect()
        });
        let met = muddle.met();
        assert_eq!(met.len(), 6, "{met:?}");
        assert_eq!(
            heard.load(Ordering::SeqCst) as u64,
            60 + met["requests made twice"]
        );
        let whole = answers
            .iter()
            .filter(|answer| answer.contains("\r\n\r\n"))
            .count() as u64;
        assert_eq!(whole, 60 - met["answers broken off"] - met["answers lost"]);
    }
}
