//! Small things drawn in several panes.

pub mod bar;
pub mod ring;
pub mod text;
