/** The keyboard: one letter, one act. Letters do nothing while somebody types or a dialog is open. */

export interface Key {
  key: string
  what: string
  where: string
}

export const KEYS: readonly Key[] = [
  { key: 'j / k', what: '下一个 / 上一个会话', where: '列表' },
  { key: 'Enter', what: '打开选中的会话', where: '列表' },
  { key: '1 2 3 4', what: '待接 / 我的 / 全部 / 已结束', where: '列表' },
  { key: 'g', what: '最高一级警报：我知道了', where: '警报' },
  { key: 'o', what: '打开最高一级警报的会话', where: '警报' },
  { key: 'c', what: '接待', where: '会话' },
  { key: 'r', what: '写回复', where: '会话' },
  { key: 'n', what: '写内部备注', where: '会话' },
  { key: 'Ctrl + Enter', what: '发送', where: '会话' },
  { key: '/', what: '常用回复', where: '会话' },
  { key: 'a', what: '评估风险', where: '会话' },
  { key: 't', what: '转给同事', where: '会话' },
  { key: 'b', what: '交回队列', where: '会话' },
  { key: 'e', what: '紧急救援', where: '会话' },
  { key: 'x', what: '结束会话', where: '会话' },
  { key: 's', what: '显示或收起侧栏', where: '会话' },
  { key: 'Esc', what: '离开输入框 / 回到列表', where: '会话' },
  { key: '?', what: '这张表', where: '随处' },
]

/** The letter of a key press that is meant for the page, or null. */
export function command(event: KeyboardEvent): string | null {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return null
  const target = event.target as HTMLElement | null
  if (target && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName))) return null
  if (document.querySelector('.el-overlay-dialog, .el-overlay-message-box')) {
    const open = [...document.querySelectorAll<HTMLElement>('.el-overlay')].some((o) => o.style.display !== 'none')
    if (open) return null
  }
  // Enter and space belong to the button or link that has the focus.
  if (event.key === 'Enter' && target && /^(BUTTON|A)$/.test(target.tagName)) return null
  return event.key.length === 1 ? event.key.toLowerCase() : event.key
}
