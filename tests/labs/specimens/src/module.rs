//! How the modules of specimens are called: for whoever makes them, and whoever looks for them.

/// The module of a specimen: `solution`, or a mistake.
pub fn module(lab: u8, name: &str) -> String {
    format!("lab{lab}_{}", name.to_lowercase().replace([' ', ','], "_"))
}
