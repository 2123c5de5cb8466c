//! Compresses the line tables of the binary: they are two thirds of it, and a panic must still name its line.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-link-arg-bins=-Wl,--compress-debug-sections=zlib");
}
