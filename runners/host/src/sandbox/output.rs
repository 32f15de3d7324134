//! What a command prints, on both of its streams.

use std::io::{PipeReader, Read};
use std::sync::mpsc::{Receiver, Sender, channel};

/// Bytes read from a command at a time.
pub(super) const PIECE_BYTES: usize = 64 * 1024;

/// What comes out of a command.
pub(super) enum OutputPiece {
    Out(Vec<u8>),
    Err(Vec<u8>),
}

/// What was heard of a command so far.
#[derive(Default)]
pub(super) struct CapturedOutput {
    pub(super) stdout: Vec<u8>,
    pub(super) cut: bool,
    pub(super) capture_max: usize,
    pub(super) bytes: u64,
}

impl CapturedOutput {
    pub(super) fn take(&mut self, piece: &OutputPiece, output: &mut dyn FnMut(&[u8])) {
        let (OutputPiece::Out(bytes) | OutputPiece::Err(bytes)) = piece;
        self.bytes += bytes.len() as u64;
        output(bytes);
        if let OutputPiece::Out(bytes) = piece {
            let room = self.capture_max - self.stdout.len();
            self.stdout
                .extend_from_slice(&bytes[..room.min(bytes.len())]);
            self.cut |= bytes.len() > room;
        }
    }
}

/// Collects what a command says, in threads of their own.
pub(super) fn listen(out: PipeReader, err: PipeReader) -> Receiver<OutputPiece> {
    let (give, take) = channel();
    collect(out, give.clone(), OutputPiece::Out);
    collect(err, give, OutputPiece::Err);
    take
}

fn collect(
    mut pipe: impl Read + Send + 'static,
    give: Sender<OutputPiece>,
    piece: impl Fn(Vec<u8>) -> OutputPiece + Send + 'static,
) {
    std::thread::spawn(move || {
        let mut bytes = vec![0; PIECE_BYTES];
        while let Ok(read @ 1..) = pipe.read(&mut bytes) {
            if give.send(piece(bytes[..read].to_vec())).is_err() {
                return;
            }
        }
    });
}
