//! How messages become bytes: as everywhere in gRPC, but with buffers of the size that our messages have.
//!
//! Separate because the generated client names it (build.rs). The codec that it would take by itself sets aside 8 KiB for
//! each message in each direction, which was a sixth of the processor time of a put of 512 bytes.

use std::marker::PhantomData;

use prost::Message;
use tonic::codec::{BufferSettings, Codec};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

/// Room for a put of 512 bytes with its key; what is larger grows.
const SENT: usize = 640;

/// Room for the answer to a put; what is larger grows.
const READ: usize = 128;

/// Sent messages are handed on in pieces of this size.
const PIECE: usize = 32 << 10;

/// The codec of the generated client.
pub struct SmallCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for SmallCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for SmallCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> ProstEncoder<T> {
        ProstCodec::<T, U>::raw_encoder(BufferSettings::new(SENT, PIECE))
    }

    fn decoder(&mut self) -> ProstDecoder<U> {
        ProstCodec::<T, U>::raw_decoder(BufferSettings::new(READ, PIECE))
    }
}
