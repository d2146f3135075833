import { expect, test } from 'vitest'
import { cover, parts } from './masking'

test('what is selected is covered, and the cursor stands behind it', () => {
  expect(cover('我叫小满，在家', 2, 4, '姓名')).toEqual({ text: '我叫［姓名］，在家', at: 6 })
})

test('a selection that cuts into a cover takes the whole of it', () => {
  expect(cover('我叫［姓名］满，在家', 4, 7, '姓名').text).toBe('我叫［姓名］，在家')
  expect(cover('我叫［姓名］满', 6, 7, '地址').text).toBe('我叫［姓名］［地址］')
})

test('covers are told from brackets that somebody wrote', () => {
  expect(parts('［微笑］我叫［姓名］', ['姓名', '电话'])).toEqual([
    { text: '［微笑］', held: false },
    { text: '我叫', held: false },
    { text: '［姓名］', held: true },
  ])
  expect(parts('', ['姓名'])).toEqual([])
})
