/** 导入: a file is looked through before it is taken, and what is wrong is told by row and column. */
import { flushPromises, mount } from '@vue/test-utils'
import { afterEach, expect, test, vi } from 'vitest'
import { formatOf } from '../api/knowledge'
import ImportDialog from './ImportDialog.vue'

vi.setConfig({ testTimeout: 60_000 })
const PROBLEMS = [{ row: 3, column: 'asks', head: '问法', item: 2, message: '同一个问法写了两次' }]
let asked: string[] = []

async function choose(status: number, said: unknown) {
  asked = []
  vi.stubGlobal('fetch', async (path: string) => {
    asked.push(path)
    return new Response(JSON.stringify(said), { status })
  })
  const shown = mount(ImportDialog, { props: { modelValue: true }, attachTo: document.body })
  await flushPromises()
  const input = document.querySelector<HTMLInputElement>('#import-file')!
  Object.defineProperty(input, 'files', { value: [new File(['x'], '条目.XLSX')] })
  input.dispatchEvent(new Event('change'))
  await flushPromises()
  return shown
}
const button = () => [...document.querySelectorAll('button')].find((one) => one.textContent === '导入成草稿')

afterEach(() => {
  document.body.innerHTML = ''
  vi.unstubAllGlobals()
})

test('the format is the name’s ending', () => {
  expect(['a.xlsx', 'b.CSV', 'c.yml', 'd.yaml', 'e.doc', 'f'].map(formatOf)).toEqual(['xlsx', 'csv', 'yaml', 'yaml', null, null])
})

test('a wrong file shows its rows and cannot be taken', async () => {
  const shown = await choose(400, { error: 'rows', message: '没有导入任何条目', problems: PROBLEMS, count: 1 })
  expect(document.querySelector('.scroll')!.textContent).toContain('问法，第 2 个')
  expect(document.body.textContent).toContain('没有导入任何条目：1 处不对')
  expect(button()).toBeUndefined()
  shown.unmount()
})

test('a right file is only taken when somebody says so', async () => {
  const shown = await choose(200, { new: ['labour.new'], changed: [], same: [], trial: true })
  expect(asked).toEqual(['/api/knowledge/import?format=xlsx&trial=yes'])
  button()!.click()
  await flushPromises()
  expect(asked.at(-1)).toBe('/api/knowledge/import?format=xlsx&trial=no')
  expect(shown.emitted('done')).toHaveLength(1)
  shown.unmount()
})
