//! Arguments in, exit code out; everything else is in the library.

fn main() -> wheelhouse::cli::Exit {
    wheelhouse::cli::main()
}
