//! The log of a container as lines, in their order, whatever breaks in between.

use futures_util::{AsyncBufRead, AsyncBufReadExt};

/// A line longer than this is cut: nothing that Kiln writes is.
pub(crate) const MAX_LINE: usize = 1 << 20;

/// The next line without its end; `None` at the end of the log.
pub(crate) async fn next_line(
    from: &mut (impl AsyncBufRead + Unpin),
    line: &mut Vec<u8>,
) -> std::io::Result<Option<()>> {
    line.clear();
    let mut any = false;
    loop {
        let available = from.fill_buf().await?;
        if available.is_empty() {
            return Ok(any.then_some(()));
        }
        any = true;
        let end = available.iter().position(|byte| *byte == b'\n');
        let taken = end.unwrap_or(available.len());
        let room = MAX_LINE.saturating_sub(line.len());
        line.extend_from_slice(&available[..taken.min(room)]);
        let used = end.map_or(taken, |at| at + 1);
        from.consume_unpin(used);
        if end.is_some() {
            return Ok(Some(()));
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::io::Cursor;

    use super::*;

    #[test]
    fn lines_end_where_they_end_and_have_a_limit() {
        let long = vec![b'x'; MAX_LINE + 10];
        let text = [&b"a\n\n"[..], &long, b"\nlast"].concat();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let lines = runtime.block_on(async {
            let (mut from, mut line, mut lines) = (Cursor::new(text), Vec::new(), Vec::new());
            while next_line(&mut from, &mut line).await.unwrap().is_some() {
                lines.push(line.clone());
            }
            lines
        });
        let lengths: Vec<usize> = lines.iter().map(Vec::len).collect();
        assert_eq!(lengths, [1, 0, MAX_LINE, 4]);
    }
}
