// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Two network cards with a wire between them, which stamp what they send and receive on clocks of their own: a module for the
 * guest's kernel (Linux 6.1). Here because no card that is emulated stamps every packet, and what is tried is how the kernel
 * hands the stamps of a card to a program.
 *
 * Each message is stamped by the kernel, held by the driver for `hold_us`, stamped by the card, and taken off the wire by the
 * other card at once: so the stamps of kernel and card are apart by what is known.
 */
#include <linux/delay.h>
#include <linux/etherdevice.h>
#include <linux/ethtool.h>
#include <linux/module.h>
#include <linux/net_tstamp.h>
#include <linux/netdevice.h>
#include <linux/workqueue.h>

static bool is_on;
module_param(is_on, bool, 0644);
MODULE_PARM_DESC(is_on, "the cards were told to stamp everything");

static bool has_filter;
module_param(has_filter, bool, 0644);
MODULE_PARM_DESC(has_filter, "they stamp what they receive only of a time protocol");

static uint hold_us;
module_param(hold_us, uint, 0644);
MODULE_PARM_DESC(hold_us, "how long the driver holds a message behind the kernel's stamp");

static uint late_us;
module_param(late_us, uint, 0644);
MODULE_PARM_DESC(late_us, "how long after the sending the card tells of it");

static ulong ahead_ns = 77000000000UL;
module_param(ahead_ns, ulong, 0644);
MODULE_PARM_DESC(ahead_ns, "how far their clocks are ahead of the time since the start");

struct card {
	struct net_device *twin;
	struct workqueue_struct *driver;
};

struct message {
	struct work_struct send;
	struct delayed_work tell;
	struct sk_buff *skb;
	struct net_device *to;
	bool is_wanted;
	ktime_t sent;
};

static struct net_device *cards[2];

/* 40 ppm fast, as a clock that nobody steers. */
static ktime_t card_now(void)
{
	u64 now = ktime_get_ns();

	return ns_to_ktime(now + now / 25000 + READ_ONCE(ahead_ns));
}

static void message_free(struct message *message)
{
	consume_skb(message->skb);
	kfree(message);
}

static void message_tell(struct work_struct *work)
{
	struct message *message = container_of(to_delayed_work(work), struct message, tell);
	struct skb_shared_hwtstamps stamps = { .hwtstamp = message->sent };

	skb_tstamp_tx(message->skb, &stamps);
	message_free(message);
}

/* A copy: a message that TCP keeps shares its stamps with the one that is sent. */
static void wire(struct sk_buff *sent, struct net_device *to, ktime_t at)
{
	struct sk_buff *skb = skb_copy(sent, GFP_KERNEL);

	if (!skb)
		return;
	skb_orphan(skb);
	skb_scrub_packet(skb, true);
	skb_shinfo(skb)->tx_flags = 0;
	skb->tstamp = 0;
	memset(skb_hwtstamps(skb), 0, sizeof(*skb_hwtstamps(skb)));
	if (is_on && !has_filter)
		skb_hwtstamps(skb)->hwtstamp = at;
	skb->protocol = eth_type_trans(skb, to);
	skb->ip_summed = CHECKSUM_UNNECESSARY;
	local_bh_disable();
	netif_rx(skb);
	local_bh_enable();
}

static void message_send(struct work_struct *work)
{
	struct message *message = container_of(work, struct message, send);

	if (hold_us)
		usleep_range(hold_us, hold_us + 50);
	message->sent = card_now();
	wire(message->skb, message->to, message->sent);
	if (message->is_wanted)
		schedule_delayed_work(&message->tell, usecs_to_jiffies(late_us));
	else
		message_free(message);
}

static netdev_tx_t card_xmit(struct sk_buff *skb, struct net_device *dev)
{
	struct card *card = netdev_priv(dev);
	struct message *message = kmalloc(sizeof(*message), GFP_ATOMIC);

	if (!message) {
		kfree_skb(skb);
		return NETDEV_TX_OK;
	}
	INIT_WORK(&message->send, message_send);
	INIT_DELAYED_WORK(&message->tell, message_tell);
	message->skb = skb;
	message->to = card->twin;
	message->is_wanted = is_on && (skb_shinfo(skb)->tx_flags & SKBTX_HW_TSTAMP);
	/* As a driver says that a stamp of the card is under way: the kernel's own is then for who asked for both. */
	if (message->is_wanted)
		skb_shinfo(skb)->tx_flags |= SKBTX_IN_PROGRESS;
	skb_tx_timestamp(skb);
	queue_work(card->driver, &message->send);
	return NETDEV_TX_OK;
}

static int card_ioctl(struct net_device *dev, struct ifreq *request, int command)
{
	struct hwtstamp_config config = {
		.tx_type = is_on ? HWTSTAMP_TX_ON : HWTSTAMP_TX_OFF,
		.rx_filter = is_on && !has_filter ? HWTSTAMP_FILTER_ALL : HWTSTAMP_FILTER_NONE,
	};

	if (command != SIOCGHWTSTAMP)
		return -EOPNOTSUPP;
	return copy_to_user(request->ifr_data, &config, sizeof(config)) ? -EFAULT : 0;
}

static int card_ts_info(struct net_device *dev, struct ethtool_ts_info *info)
{
	info->so_timestamping = SOF_TIMESTAMPING_TX_SOFTWARE | SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE |
				SOF_TIMESTAMPING_TX_HARDWARE | SOF_TIMESTAMPING_RX_HARDWARE | SOF_TIMESTAMPING_RAW_HARDWARE;
	info->tx_types = BIT(HWTSTAMP_TX_OFF) | BIT(HWTSTAMP_TX_ON);
	info->rx_filters = BIT(HWTSTAMP_FILTER_NONE) | BIT(has_filter ? HWTSTAMP_FILTER_PTP_V2_EVENT : HWTSTAMP_FILTER_ALL);
	return 0;
}

static const struct net_device_ops card_ops = {
	.ndo_start_xmit = card_xmit,
	.ndo_eth_ioctl = card_ioctl,
};

static const struct ethtool_ops card_ethtool = {
	.get_ts_info = card_ts_info,
};

static void card_setup(struct net_device *dev)
{
	ether_setup(dev);
	dev->netdev_ops = &card_ops;
	dev->ethtool_ops = &card_ethtool;
	eth_hw_addr_random(dev);
}

/* Never unloaded, and a guest that fails to load it is thrown away: nothing is undone. */
static int __init card_init(void)
{
	int at, error;

	for (at = 0; at < 2; at++) {
		cards[at] = alloc_netdev(sizeof(struct card), "card%d", NET_NAME_ENUM, card_setup);
		if (!cards[at])
			return -ENOMEM;
	}
	for (at = 0; at < 2; at++) {
		struct card *card = netdev_priv(cards[at]);

		card->twin = cards[1 - at];
		card->driver = alloc_ordered_workqueue("card%d", 0, at);
		if (!card->driver)
			return -ENOMEM;
		error = register_netdev(cards[at]);
		if (error)
			return error;
	}
	return 0;
}

module_init(card_init);
MODULE_DESCRIPTION("two cards that stamp, and a wire between them");
MODULE_LICENSE("Dual MIT/GPL");
