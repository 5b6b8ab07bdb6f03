//! A reply's body as it grows: unpacked piece by piece, against a cap of its size and of how much packed bytes may swell.
//! No I/O.

use std::io::Write;

use flate2::write::MultiGzDecoder;

use crate::error::{Error, ErrorKind};

/// An unpacked body may be this many times as large as what was received.
const MAX_RATIO: usize = 200;
/// Below this size the ratio does not count: a short text that repeats itself packs well.
const RATIO_FLOOR: usize = 1 << 20;
/// Room made before the first byte at most: the announced length is only a claim.
const FIRST_ROOM: usize = 1 << 20;

/// Why a body is not read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// Larger than this many bytes.
    TooLarge(usize),
    /// Swells beyond [`MAX_RATIO`].
    Swells,
    /// The packing is broken.
    Broken,
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::TooLarge(cap) => Self::new(ErrorKind::TooLarge, format!("the reply is larger than the cap of {cap} bytes")),
            Refused::Swells => {
                Self::new(ErrorKind::TooLarge, format!("the reply unpacks to more than {MAX_RATIO} times its size"))
            }
            Refused::Broken => Self::new(ErrorKind::Undecodable, "the reply broke off or cannot be decompressed"),
        }
    }
}

/// A body that is being read.
#[derive(Debug)]
pub(super) enum Body {
    /// As it is sent.
    Plain(Room),
    /// Packed.
    Gzip(Box<MultiGzDecoder<Room>>),
}

impl Body {
    pub(super) fn plain(announced: usize, cap: usize) -> Self {
        Self::Plain(Room { bytes: Vec::with_capacity(announced.min(FIRST_ROOM)), ..Room::new(cap) })
    }

    pub(super) fn gzip(cap: usize) -> Self {
        Self::Gzip(Box::new(MultiGzDecoder::new(Room::new(cap))))
    }

    /// Takes a piece. Copied into memory of its own: it is a slice of the connection's buffer and would keep all of it alive.
    pub(super) fn push(&mut self, piece: &[u8]) -> Result<(), Refused> {
        match self {
            Self::Plain(room) => room.take(piece),
            Self::Gzip(decoder) => {
                decoder.get_mut().received += piece.len();
                decoder.write_all(piece).map_err(|_| decoder.get_ref().refused.unwrap_or(Refused::Broken))
            }
        }
    }

    /// The whole body.
    pub(super) fn finish(self) -> Result<Vec<u8>, Refused> {
        match self {
            Self::Plain(room) => Ok(room.bytes),
            // No body at all is an empty one, whatever its header says.
            Self::Gzip(decoder) if decoder.get_ref().received == 0 => Ok(Vec::new()),
            Self::Gzip(mut decoder) => {
                decoder.try_finish().map_err(|_| decoder.get_ref().refused.unwrap_or(Refused::Broken))?;
                Ok(std::mem::take(&mut decoder.get_mut().bytes))
            }
        }
    }
}

/// Where the unpacked bytes go.
#[derive(Debug)]
pub(super) struct Room {
    bytes: Vec<u8>,
    cap: usize,
    /// Packed bytes so far.
    received: usize,
    refused: Option<Refused>,
}

impl Room {
    fn new(cap: usize) -> Self {
        Self { bytes: Vec::new(), cap, received: 0, refused: None }
    }

    fn take(&mut self, piece: &[u8]) -> Result<(), Refused> {
        let size = self.bytes.len() + piece.len();
        if size > self.cap {
            return Err(Refused::TooLarge(self.cap));
        }
        if size > self.bytes.capacity() {
            // Twice as much each time, and never more than the cap.
            let room = (self.bytes.capacity() * 2).clamp(size, self.cap.max(size));
            self.bytes.reserve_exact(room - self.bytes.len());
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }
}

impl Write for Room {
    fn write(&mut self, piece: &[u8]) -> std::io::Result<usize> {
        let size = self.bytes.len() + piece.len();
        let swells = size > RATIO_FLOOR && size > self.received.saturating_mul(MAX_RATIO);
        let taken = if swells { Err(Refused::Swells) } else { self.take(piece) };
        match taken {
            Ok(()) => Ok(piece.len()),
            Err(refused) => {
                self.refused = Some(refused);
                Err(std::io::Error::other("refused"))
            }
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn read(mut body: Body, bytes: &[u8], piece: usize) -> Result<Vec<u8>, Refused> {
        for piece in bytes.chunks(piece) {
            body.push(piece)?;
        }
        body.finish()
    }

    #[test]
    fn packed_bodies_are_the_same_however_they_are_cut() {
        let text = "Acme is a company. ".repeat(1_000).into_bytes();
        let bytes = packed(&text);
        for piece in [1, 2, 7, 100, bytes.len()] {
            assert_eq!(read(Body::gzip(1 << 20), &bytes, piece).unwrap(), text);
            assert_eq!(read(Body::plain(text.len(), 1 << 20), &text, piece).unwrap(), text);
        }
        // A second member is part of the body.
        assert_eq!(read(Body::gzip(1 << 20), &[packed(b"a"), packed(b"b")].concat(), 3).unwrap(), b"ab");
    }

    #[test]
    fn caps_and_ratio() {
        let zeros = vec![0; 4 << 20];
        let bytes = packed(&zeros);
        assert_eq!(read(Body::gzip(64 << 20), &bytes, 512), Err(Refused::Swells));
        assert_eq!(read(Body::gzip(1 << 19), &bytes, 512), Err(Refused::TooLarge(1 << 19)));
        assert_eq!(read(Body::gzip(64 << 20), &packed(&zeros[..RATIO_FLOOR]), 512).unwrap().len(), RATIO_FLOOR);
        assert_eq!(read(Body::plain(0, 10), &[0; 11], 4), Err(Refused::TooLarge(10)));
        assert_eq!(read(Body::plain(usize::MAX, 10), &[0; 10], 4).unwrap().len(), 10);
    }

    #[test]
    fn broken_packing() {
        let bytes = packed(&"Acme is a company. ".repeat(100).into_bytes());
        for end in 1..bytes.len() {
            assert_eq!(read(Body::gzip(1 << 20), &bytes[..end], 16), Err(Refused::Broken), "{end}");
        }
        let mut wrong = bytes.clone();
        *wrong.last_mut().unwrap() ^= 1;
        assert_eq!(read(Body::gzip(1 << 20), &wrong, 16), Err(Refused::Broken));
        assert_eq!(read(Body::gzip(1 << 20), b"no gzip at all", 16), Err(Refused::Broken));
        assert_eq!(read(Body::gzip(1 << 20), b"", 16).unwrap(), b"");
    }
}
