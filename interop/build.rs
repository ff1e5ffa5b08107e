//! Makes Rust of `proto/talk.proto`, for `grpc`. In Rust alone: no `protoc` has to be installed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let parsed = protox::compile(["proto/talk.proto"], ["proto"])?;
    tonic_prost_build::configure().compile_fds(parsed)?;
    Ok(())
}
