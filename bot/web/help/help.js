// Suggestions while somebody types, and a quick exit that leaves no way back. Without this file every page works the same.
// What is typed goes in a request's body, never into an address.
(() => {
  const leave = document.getElementById('leave')
  leave.addEventListener('click', (event) => {
    event.preventDefault()
    location.replace(leave.href)
  })

  const field = document.getElementById('q')
  const near = document.getElementById('near')
  if (!field || !near || !window.fetch) return
  let timer = 0
  let asked = 0
  let composing = false

  const show = (found) => {
    near.textContent = ''
    if (found.danger) {
      const words = document.createElement('p')
      words.append('先顾安全：')
      for (const { number, name } of found.numbers) {
        const call = document.createElement('a')
        call.href = 'tel:' + number
        call.className = 'call'
        call.textContent = number + ' ' + name + '　'
        words.append(call)
      }
      near.append(words)
    }
    if (!found.entries.length) return
    const list = document.createElement('ul')
    for (const { address, title } of found.entries) {
      const item = document.createElement('li')
      const link = document.createElement('a')
      link.href = address
      link.textContent = title
      item.append(link)
      list.append(item)
    }
    near.append(list)
  }

  const ask = async () => {
    const words = field.value.trim()
    const mine = ++asked
    if (words.length < 2) return show({ danger: false, numbers: [], entries: [] })
    try {
      const answer = await fetch('/help/suggest', {
        method: 'POST',
        body: JSON.stringify({ q: words }),
        headers: { 'Content-Type': 'application/json' },
        cache: 'no-store',
        credentials: 'omit',
      })
      if (answer.ok && mine === asked) show(await answer.json())
    } catch {
      // Offline: the button still says so when it is pressed.
    }
  }
  const soon = () => {
    clearTimeout(timer)
    if (!composing) timer = setTimeout(ask, 300)
  }
  field.addEventListener('input', soon)
  field.addEventListener('compositionstart', () => { composing = true })
  field.addEventListener('compositionend', () => { composing = false; soon() })
})()
