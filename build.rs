//! Compresses the line tables of the binary, which are two thirds of it, for a panic must still name its line; and strips what
//! a node holds many times over.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-link-arg-bins=-Wl,--compress-debug-sections=zlib");
    // Its panics still name their file and line.
    #[cfg(not(feature = "toolkit"))]
    println!("cargo:rustc-link-arg-bins=-Wl,--strip-all");
}
