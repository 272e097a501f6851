//! Makes an image.
fn main() {
    let a: Vec<String> = std::env::args().collect();
    bootloader::BiosBoot::new(a[1].as_ref()).create_disk_image(a[2].as_ref()).unwrap();
    bootloader::UefiBoot::new(a[1].as_ref()).create_disk_image((a[2].clone() + ".uefi").as_ref()).unwrap();
}
