//! What lines say.
#![allow(missing_docs, reason = "a test's name says what it tests")]

use line::{WordError, commands, counted, expect, number};

#[test]
fn a_line_is_commands_up_to_a_comment() {
    let of = |line| commands(line).collect::<Vec<_>>();
    assert_eq!(
        of(" alloc 3;; free all ;\tvalidate# no comment ; help # one; drain"),
        ["alloc 3", "free all", "validate# no comment", "help"]
    );
    assert_eq!(of("# all of it; help"), [""; 0]);
    assert_eq!(of("a;#b"), ["a"]);
}

#[test]
fn a_number_is_decimal_or_hexadecimal_and_fits() {
    assert_eq!([number("0"), number("+7"), number("0x1f"), number("0XFF")], [Ok(0), Ok(7), Ok(31), Ok(255)]);
    assert_eq!(number("18446744073709551615"), Ok(u64::MAX));
    for large in ["18446744073709551616", "0x10000000000000000"] {
        assert_eq!(number(large), Err(WordError::TooLarge(large)));
    }
    for none in ["", "0x", "-1", "0x+1", "++1", "+0x1", "1f", "12 ", "٣", "99999999999999999999x"] {
        assert_eq!(number(none), Err(WordError::NotANumber(none)));
    }
}

#[test]
fn one_of_anything_is_no_plural() {
    let said = |count, plural| counted(count, plural).to_string();
    assert_eq!([0, 1, 2].map(|count| said(count, "blocks")), ["0 blocks", "1 block", "2 blocks"]);
    assert_eq!(said(1, "isolated frames"), "1 isolated frame");
    assert_eq!(
        [said(1, "blocks of order 3"), said(8, "blocks of order 3")],
        ["1 block of order 3", "8 blocks of order 3"]
    );
    assert_eq!([said(1, "entries"), said(3, "entries")], ["1 entry", "3 entries"]);
}

#[test]
fn words_are_neither_too_few_nor_too_many() {
    let names = ["the pfn", "the order"];
    assert_eq!(expect(&["1"], &names, 1), Err(WordError::Missing("the order")));
    assert_eq!(expect(&["1", "2"], &names, 1), Ok(&["1", "2"][..]));
    assert_eq!(expect(&["1", "2", "3"], &names, 1), Ok(&["1", "2", "3"][..]));
    assert_eq!(expect(&["1", "2", "3", "4"], &names, 1), Err(WordError::Unexpected("4")));
    assert_eq!(WordError::Missing("the pfn").to_string(), "the pfn is missing");
}
