// Long words in pieces the desk can store, cut where a reader would pause. Nothing is left out but pieces of blanks.

/** Characters as the server counts them: an emoji outside the first plane is one. */
export function count(text: string): number {
  return Array.from(text).length;
}

const PAUSES = [/\n/, /[。！？!?…]/, /[，、；;：:,\s]/];

export function split(text: string, most: number): string[] {
  let rest = Array.from(text);
  const pieces: string[] = [];
  while (rest.length > most) {
    const at = pause(rest, most);
    pieces.push(rest.slice(0, at).join(''));
    rest = rest.slice(at);
  }
  pieces.push(rest.join(''));
  return pieces.filter((piece) => piece.trim());
}

/** Where to cut: after the last good pause in the second half of what fits, else at the limit. */
function pause(characters: string[], most: number): number {
  for (const good of PAUSES) {
    for (let at = most; at > most / 2; at--) if (good.test(characters[at - 1] as string)) return at;
  }
  return most;
}
