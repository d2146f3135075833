/** Masking by hand: a curator selects what identifies somebody and covers it with a word in brackets, such as ［姓名］. */

export interface Covered {
  text: string
  /** Where the cursor goes: behind the cover. */
  at: number
}

/** Cover `[start, end)` of the text. What is already covered in part is covered whole. */
export function cover(text: string, start: number, end: number, what: string): Covered {
  for (const held of text.matchAll(/［[^［］]{1,4}］/g)) {
    const [from, to] = [held.index, held.index + held[0].length]
    if (from < end && start < to) [start, end] = [Math.min(start, from), Math.max(end, to)]
  }
  const put = `［${what}］`
  return { text: text.slice(0, start) + put + text.slice(end), at: start + put.length }
}

export interface Part {
  text: string
  held: boolean
}

/** The text in parts, covers apart, so that they can be shown as such. */
export function parts(text: string, placeholders: readonly string[]): Part[] {
  return text
    .split(/(［[^［］]{1,4}］)/)
    .filter((piece) => piece !== '')
    .map((piece) => ({ text: piece, held: piece.startsWith('［') && placeholders.includes(piece.slice(1, -1)) }))
}
