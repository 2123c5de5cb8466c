//! Compresses the line tables of the binary, which are two thirds of it, for a panic must still name its line; and makes
//! the client of etcd's interface from our description of it, without a protobuf compiler on the machine.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-link-arg-bins=-Wl,--compress-debug-sections=zlib");
    // What a node holds many times over carries no names: its panics still name their file and line.
    #[cfg(not(feature = "toolkit"))]
    println!("cargo:rustc-link-arg-bins=-Wl,--strip-all");
    #[cfg(feature = "toolkit")]
    compile_interface()?;
    Ok(())
}

#[cfg(feature = "toolkit")]
fn compile_interface() -> Result<(), Box<dyn Error>> {
    const INTERFACE: &str = "src/wire/etcd/interface.proto";
    println!("cargo:rerun-if-changed={INTERFACE}");
    let description = protox::compile([INTERFACE], ["src/wire/etcd"])?;
    // Keys and values are passed on without being copied.
    let builder = tonic_prost_build::configure().build_server(false).build_transport(false).bytes(".");
    Ok(builder.compile_fds(description)?)
}
