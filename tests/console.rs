//! The console: screens by snapshot, dialogs by replayed keys, and a real terminal.

mod console {
    mod dialogs;
    mod fixture;
    mod pipelines;
    mod run_dialogs;
    mod runs;
    mod scene;
    mod screens;
    mod strategies;
    mod terminal;
}
