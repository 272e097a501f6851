//! The tree: the orders as rows over the 1,024 frames around one. What is a block is filled where its order's row is; what has been
//! split is an outline, and what is inside of a block is nothing.

use alloc::vec;
use alloc::vec::Vec;

use bifolio::frame::Order;

use crate::cells::{Cells, TILE};
use crate::palette::{Palette, meaning};

/// Pixels of a picture, row by row, each as red, green, blue and alpha.
pub fn draw(cells: &Cells, around: u64, width: usize, height: usize, is_dark: bool) -> Vec<u32> {
    let palette = Palette::new(is_dark);
    let pixel = |[red, green, blue]: [u8; 3]| u32::from_le_bytes([red, green, blue, 0xff]);
    let mut pixels = vec![pixel(palette.background); width * height];
    let start = around & !(TILE as u64 - 1);
    let split = pixel(if is_dark { [0x34, 0x3d, 0x49] } else { [0xd9, 0xde, 0xe5] });
    for y in 0..height {
        let row = y * Order::COUNT / height;
        let order = Order::COUNT - 1 - row;
        let (first, behind) = ((row * height).div_ceil(Order::COUNT), ((row + 1) * height).div_ceil(Order::COUNT));
        let is_rim = y == first || y + 2 >= behind;
        for x in 0..width {
            let frame = x * TILE / width;
            let code = cells.code(start + frame as u64);
            let Some((.., of)) = meaning(code) else { continue };
            let from = (frame & !((1 << order) - 1)) * width / TILE;
            // Where blocks are narrower than two pixels, nothing is left between them.
            let is_gap = x == from && (width << order) / TILE > 2;
            if y + 1 >= behind || is_gap {
                continue;
            }
            if of.index() == order {
                pixels[y * width + x] =
                    pixel(if is_rim { palette.lines[usize::from(code)] } else { palette.fills[usize::from(code)] });
            } else if of.index() < order {
                pixels[y * width + x] = split;
            }
        }
    }
    pixels
}
