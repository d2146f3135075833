import { expect, test } from 'vitest'
import { pieces } from './spans'

const whole = (text: string, spans: { start: number; end: number; reason: string }[]): string =>
  pieces(text, spans).map((piece) => piece.text).join('')

test('words are marked where the spans say, counting UTF-16 units, also after an emoji', () => {
  const text = '😞我在楼顶'
  expect(pieces(text, [{ start: 3, end: 6, reason: '在危险的地方' }])).toEqual([
    { text: '😞我', reasons: [] },
    { text: '在楼顶', reasons: ['在危险的地方'] },
  ])
})

test('spans may overlap: each piece carries every reason that covers it, once', () => {
  const made = pieces('abcdef', [
    { start: 0, end: 4, reason: '甲' },
    { start: 2, end: 6, reason: '乙' },
    { start: 2, end: 6, reason: '乙' },
  ])
  expect(made).toEqual([
    { text: 'ab', reasons: ['甲'] },
    { text: 'cd', reasons: ['甲', '乙'] },
    { text: 'ef', reasons: ['乙'] },
  ])
})

test('an offset inside an emoji never cuts it', () => {
  const text = 'a😞b'
  const made = pieces(text, [{ start: 2, end: 4, reason: '甲' }])
  expect(made).toEqual([
    { text: 'a', reasons: [] },
    { text: '😞b', reasons: ['甲'] },
  ])
})

test('nothing of the text is lost or doubled, whatever the spans', () => {
  const text = '我😞不想👨‍👩‍👧活𠮷了'
  for (let start = -3; start < text.length + 3; start++)
    for (let end = -3; end < text.length + 3; end++) {
      const spans = [{ start, end, reason: '甲' }, { start: 1, end: 5, reason: '乙' }]
      expect(whole(text, spans)).toBe(text)
      for (const piece of pieces(text, spans)) expect(piece.text.isWellFormed()).toBe(true)
    }
})

test('no spans, no marks; no text, no pieces', () => {
  expect(pieces('你好', [])).toEqual([{ text: '你好', reasons: [] }])
  expect(pieces('', [])).toEqual([])
})
