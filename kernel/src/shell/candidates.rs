//! What can be typed next, for Tab: commands, and what their arguments can be at the moment.

use super::state::Shell;
use super::table::{self, Argument, commands};
use bifolio::frame::{Gfp, Order};
use core::fmt::Write;
use heapless::String;
use line::Complete;

/// The candidates that a shell has.
pub(super) struct Candidates<'s>(pub(super) &'s Shell);

impl Complete for Candidates<'_> {
    fn candidates(&self, line: &str, each: &mut dyn FnMut(&str)) -> usize {
        let command = line.rfind(';').map_or(0, |end| end + 1);
        let start = line.rfind([' ', ';']).map_or(0, |end| end + 1);
        // Of a command about another, such as `watch`, the other's words count.
        let mut words = line[command..start].split_whitespace().peekable();
        while words.next_if(|word| table::takes_a_command(word)).is_some() {}
        let Some(name) = words.next() else {
            let beginning = &line[start..];
            commands().filter(|command| command.name().starts_with(beginning)).for_each(|command| each(command.name()));
            return start;
        };
        let argument = table::find(name).and_then(|command| command.arguments.get(words.count()));
        let Some(argument) = argument else { return start };
        let start = match argument {
            Argument::Flags => start + line[start..].rfind(['|', ',']).map_or(0, |end| end + 1),
            _ => start,
        };
        let beginning = &line[start..];
        self.arguments(argument, &mut |word| {
            if word.get(..beginning.len()).is_some_and(|start| start == beginning) {
                each(word);
            }
        });
        start
    }
}

impl Candidates<'_> {
    /// All words that an argument can be, as far as they can be listed.
    fn arguments(&self, argument: &Argument, each: &mut dyn FnMut(&str)) {
        let number = |text: core::fmt::Arguments<'_>, each: &mut dyn FnMut(&str)| {
            let mut word = String::<24>::new();
            // A number is not as long.
            let _ = word.write_fmt(text);
            each(&word);
        };
        match argument {
            Argument::Flags => <Gfp as bitflags::Flags>::FLAGS.iter().for_each(|flag| each(flag.name())),
            Argument::Order => Order::all().for_each(|order| number(format_args!("{order}"), each)),
            Argument::Block => {
                each("all");
                self.0.blocks.iter().for_each(|block| number(format_args!("{}", block.pfn()), each));
            }
            Argument::Object => {
                each("all");
                self.0.objects().for_each(|object| number(format_args!("{object:p}"), each));
            }
            Argument::Words(words) => words.iter().for_each(|word| each(word)),
            Argument::Command | Argument::Other => {}
        }
    }
}
